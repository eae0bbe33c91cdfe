//! The values of the form with the chosen credential, and what Microsoft says of them.

use std::sync::Arc;

use app::backend::{Administrator, Result};
use app::model::{
    ClientId, CredentialKind, FieldError, RegistrationError, RegistrationId, SecretExpiry, SigningKeyId, Tenant,
    TenantId, read_secret_list,
};

use super::form::{Values, field};
use crate::app_credentials::secret_place;
use crate::config::Microsoft;
use crate::diagnosis::Fault;
use crate::identity::{Credentials, IdentityError, Proof};
use crate::service::Services;
use crate::store::Registration;
use crate::vault::Secret;

pub(super) enum Verdict {
    Accepted(TenantId),
    Refused(Fault),
    Silent(Fault),
    /// The federated credential is not known yet: it takes minutes after it was added.
    NotYet(Fault),
}

/// Values of the form with the credential that was chosen, before Microsoft is asked.
pub(super) struct Candidate {
    pub(super) registration: Registration,
    /// Opened, where it is a secret.
    pub(super) secret: Option<Secret>,
    pub(super) proof: Proof,
    pub(super) cloud: Arc<Microsoft>,
    /// Another credential than the stored one.
    pub(super) is_new: bool,
}

impl Services {
    pub(super) async fn ask_microsoft(
        &self,
        cloud: &Arc<Microsoft>,
        client_id: ClientId,
        tenant: &Tenant,
        proof: &Proof,
    ) -> Verdict {
        let now = self.clock.now();
        let named = match tenant {
            Tenant::Id(id) => id.to_string(),
            Tenant::Domain(domain) => domain.clone(),
        };
        let credentials = Credentials { client_id, tenant: named, cloud: Arc::clone(cloud), proof: proof.clone() };
        let verdict = match self.entra.probe(&credentials).await {
            Ok(discovery) => {
                let found = match tenant {
                    Tenant::Id(id) => Some(*id),
                    Tenant::Domain(_) => discovery.tenant_id().map(TenantId),
                };
                match found {
                    Some(tenant_id) => Verdict::Accepted(tenant_id),
                    None => {
                        Verdict::Refused(Fault::new("tenant_unknown", now, &[("Issuer", discovery.issuer.clone())]))
                    }
                }
            }
            Err(IdentityError::Protocol { detail, .. }) if !self.config.clouds.named_by(&detail).is_empty() => {
                Verdict::Refused(Fault::new("other_cloud", now, &[("Answer", detail)]))
            }
            Err(error) if error.is_transient() || matches!(error, IdentityError::Protocol { .. }) => {
                Verdict::Silent(Fault::identity(&error, now))
            }
            Err(error) => {
                let fault = self.refusal(&credentials, Fault::identity(&error, now)).await;
                match proof {
                    Proof::Federated { .. } if fault.cause == "federated_credential" => Verdict::NotYet(fault),
                    _ => Verdict::Refused(fault),
                }
            }
        };
        if let Verdict::Refused(fault) | Verdict::Silent(fault) | Verdict::NotYet(fault) = &verdict {
            fault.log(client_id, "save");
        }
        verdict
    }

    /// A refusal, or IDs in each other's field: swapped, the tenant exists and knows the client.
    async fn refusal(&self, refused: &Credentials, fault: Fault) -> Fault {
        let (Ok(as_client), "tenant_unknown") = (refused.tenant.parse(), fault.cause.as_str()) else { return fault };
        let swapped = Credentials {
            client_id: ClientId(as_client),
            tenant: refused.client_id.to_string(),
            cloud: Arc::clone(&refused.cloud),
            proof: refused.proof.clone(),
        };
        let known = match self.entra.probe(&swapped).await {
            Ok(_) => true,
            Err(error) => {
                let cause = Fault::identity(&error, self.clock.now()).cause;
                matches!(error, IdentityError::OAuth { .. })
                    && !["tenant_unknown", "client_unknown"].contains(&cause.as_str())
            }
        };
        if known { Fault { cause: "ids_swapped".into(), ..fault } } else { fault }
    }

    /// A registration under a new id, with its secret sealed for it.
    pub(super) fn sealed(
        &self,
        like: &Registration,
        tenant_id: TenantId,
        secret: Option<&Secret>,
    ) -> Result<Registration> {
        let mut new = Registration { id: RegistrationId(self.clock.uuid()), tenant_id, ..like.clone() };
        new.secret_sealed = match secret {
            Some(secret) => self.vault.seal(&secret_place(&new), secret)?,
            None => String::new(),
        };
        Ok(new)
    }

    pub(super) fn opened_secret(&self, registration: &Registration) -> Result<Option<Secret>> {
        if registration.secret_sealed.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.vault.open(&secret_place(registration), &registration.secret_sealed)?))
    }

    /// The chosen credential: what was typed, or what is stored.
    pub(super) async fn candidate(
        &self,
        admin: &Administrator,
        values: &Values,
        kept: Option<&Registration>,
    ) -> Result<Result<Candidate, FieldError>> {
        let now = self.clock.now();
        let mut registration =
            Registration::new(RegistrationId(uuid::Uuid::nil()), values.client_id, TenantId(uuid::Uuid::nil()), now);
        registration.credential = values.credential;
        registration.cloud.clone_from(&values.cloud);
        let cloud = self.app_credentials.cloud(&values.cloud)?;
        registration.credential_id = Some(SigningKeyId(self.clock.uuid()));
        let same_kind = kept.filter(|kept| kept.credential == values.credential);
        let (secret, proof) = match values.credential {
            CredentialKind::Secret => {
                // A secret belongs to its cloud: it is sent to no other.
                let stored = match kept.filter(|kept| kept.cloud == values.cloud) {
                    Some(kept) => self.opened_secret(kept)?,
                    None => None,
                };
                let Some(secret) = values.secret.clone().or_else(|| stored.clone()) else {
                    return Ok(Err(field("client_secret", "Client Secret", RegistrationError::SecretMissing)));
                };
                if let (Some(kept), true) = (same_kind, stored.as_ref() == Some(&secret)) {
                    registration.credential_id = kept.credential_id;
                    registration.secret_stored_at = kept.secret_stored_at;
                    registration.secret_id.clone_from(&kept.secret_id);
                }
                let typed = values.expires_on.map(|date| date.to_string());
                let is_new = stored.as_ref() != Some(&secret);
                // The page shows the date of the secret before: with a new one it says nothing if it was left as it was.
                let is_left =
                    is_new && !values.is_lifetime && same_kind.is_some_and(|kept| kept.secret_expires_on == typed);
                registration.secret_expires_on = typed.filter(|_| !is_left);
                if !values.secret_list.trim().is_empty() {
                    let (expiry, id) = match read_secret_list(&values.secret_list, secret.expose()) {
                        Ok(found) => found,
                        Err(error) => return Ok(Err(field("secret_list", "Output of the command", error))),
                    };
                    (registration.secret_expires_on, registration.secret_id) = (Some(expiry.to_string()), id);
                }
                (Some(secret.clone()), Proof::Secret(secret))
            }
            CredentialKind::Certificate => {
                let keys = self.app_credentials.certificates(admin.institution().id).await?;
                let Some(oldest) = keys.last() else {
                    let text = "Make a certificate first, and upload it at Microsoft.";
                    return Ok(Err(field("credential-certificate", "Credential", text)));
                };
                // The one in use counts until Microsoft knows a newer one. The caller asks for the one chosen.
                let mut chosen = same_kind
                    .and_then(|kept| keys.iter().find(|key| Some(key.id) == kept.credential_id))
                    .unwrap_or(oldest);
                for key in keys.iter().take_while(|key| key.id != chosen.id) {
                    let proof = self.app_credentials.certificate(key)?;
                    let verdict = self.ask_microsoft(&cloud, values.client_id, &values.tenant, &proof).await;
                    if matches!(verdict, Verdict::Accepted(_)) {
                        chosen = key;
                        break;
                    }
                }
                registration.credential_id = Some(chosen.id);
                registration.secret_stored_at = chosen.created_at;
                registration.secret_expires_on = chosen.expires_at.map(|at| SecretExpiry::of(at).to_string());
                (None, self.app_credentials.certificate(chosen)?)
            }
            CredentialKind::Federated => {
                if !is_reachable_issuer(&cloud, &admin.institution().public_url) {
                    let text = "Microsoft has to fetch keys from this address, and can only do so by https from the internet. Use a certificate instead.";
                    return Ok(Err(field("credential-federated", "Credential", text)));
                }
                if let Some(kept) = same_kind {
                    registration.credential_id = kept.credential_id;
                    registration.secret_stored_at = kept.secret_stored_at;
                }
                (None, self.app_credentials.federated(admin.institution().id, &cloud).await?)
            }
        };
        let is_same = same_kind.is_some_and(|kept| kept.credential_id == registration.credential_id);
        // A secret that was pasted is checked as a new one, even if it is the stored one.
        let is_new = !is_same || values.secret.is_some();
        let is_same_app = kept.is_some_and(|kept| kept.client_id == values.client_id && kept.cloud == values.cloud);
        if let (true, Some(kept)) = (is_same && is_same_app, kept) {
            (registration.signed_in_at, registration.renewed_at) = (kept.signed_in_at, kept.renewed_at);
            registration.superseded.clone_from(&kept.superseded);
        }
        Ok(Ok(Candidate { registration, secret, proof, cloud, is_new }))
    }
}

/// Whether Microsoft can fetch keys from an institution's address. The sandbox of this machine can.
pub(super) fn is_reachable_issuer(cloud: &Microsoft, public_url: &str) -> bool {
    public_url.starts_with("https:") || cloud.authority.scheme() == "http"
}
