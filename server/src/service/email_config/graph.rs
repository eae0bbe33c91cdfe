//! When an institution's mailboxes send through Microsoft Graph.

use app::backend::{Administrator, Result};
use app::error::AppError;
use app::model::{AuditAction, GraphUse, GraphView, InstitutionId, Notice, Tone};

use crate::service::{Happened, Services, Who};
use crate::store::Slot;

impl Services {
    /// `None`: nothing is set up, or the cloud's Graph is not known.
    pub(super) async fn graph_view(&self, institution: InstitutionId) -> Result<Option<GraphView>> {
        let Some(registration) = self.registration_in_use(institution).await? else { return Ok(None) };
        if self.config.clouds.hosts_of(&registration.cloud).graph.is_none() {
            return Ok(None);
        }
        let (graph, by_graph) =
            (self.store.graph_use(institution).await?, self.store.count_by_graph(institution).await?);
        Ok(Some(GraphView { graph, by_graph }))
    }

    pub(super) async fn save_graph(&self, admin: &Administrator, graph: GraphUse) -> Result<Notice> {
        let (institution, now) = (admin.institution().id, self.clock.now());
        let registration = self.store.registration(institution, Slot::Current).await?;
        let is_known = registration.is_some_and(|one| self.config.clouds.hosts_of(&one.cloud).graph.is_some());
        if !is_known && graph != GraphUse::Off {
            return Err(AppError::refused("Set up MS Exchange Online first.").into());
        }
        let mut tx = self.store.begin().await?;
        self.still_administrator(&mut tx, admin).await?;
        self.store.set_graph_use(&mut tx, institution, graph, now).await?;
        // Those that SMTP refused may send now, and those that sent through Graph find out about SMTP.
        self.store.test_blocked_now(&mut tx, institution, now).await?;
        self.store.resume_queues(&mut tx, institution, now).await?;
        let name = match graph {
            GraphUse::Off => "off",
            GraphUse::WhenRefused => "where SMTP is switched off",
            GraphUse::Always => "always",
        };
        let happened = Happened::new(AuditAction::ConfigurationSaved, "").with("Microsoft Graph", name);
        self.audit(&mut tx, institution, Who::Person(admin), happened).await?;
        tx.commit().await?;
        self.outbox.wake();
        let text = match graph {
            GraphUse::Off => "Mailboxes send through SMTP.",
            _ => {
                "If the permissions below are new, add them at Microsoft and grant admin consent. Blocked mailboxes are tested again now."
            }
        };
        Ok(Notice::new(Tone::Success, "Saved.", text))
    }
}
