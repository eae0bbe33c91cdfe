//! Slots for connections: a number of them, and a share for each network address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::network::shared;

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Default)]
pub struct Slots(Mutex<Counts>);

/// A connection's slot; released when dropped.
pub struct Slot {
    slots: Arc<Slots>,
    address: Option<IpAddr>,
}

impl Slots {
    /// `share`: how many one address may have; none for an address that stands for many clients.
    pub fn take(self: &Arc<Self>, address: IpAddr, most: usize, share: Option<usize>) -> Option<Slot> {
        let counted = share.map(|_| shared(address));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = counted.map_or(0, |address| counts.by_address.get(&address).copied().unwrap_or_default());
        if counts.all >= most || share.is_some_and(|share| has >= share) {
            return None;
        }
        counts.all += 1;
        if let Some(address) = counted {
            *counts.by_address.entry(address).or_default() += 1;
        }
        Some(Slot { slots: Arc::clone(self), address: counted })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = counts.by_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
