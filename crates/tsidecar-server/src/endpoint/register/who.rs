//! Who sends a registration, and whether they may: asked of whois, now.

use tsidecar_oauth::provenance::{Registrant, Registrar};

use super::refused::Refused;
use crate::app::App;
use crate::identity::Sighting;
use crate::peer::Caller;
use crate::registrations::Lot;
use crate::snapshot::Snapshot;
use tsidecar_oauth::discovery::Registering;

/// The sender of a registration that is allowed.
pub(super) struct Sender {
    /// As whom it registers.
    pub(super) registrar: Registrar,
    /// The node that it comes from; `None` for the internet.
    node: Option<String>,
}

impl Sender {
    /// With whose registrations this one is counted.
    pub(super) fn lot(&self) -> Lot<'_> {
        match (&self.registrar, &self.node) {
            (_, None) => Lot::Outside,
            (Registrar::Page, Some(node)) => Lot::Pages(node),
            (_, Some(node)) => Lot::Node(node),
        }
    }
}

/// Judges who sends a registration.
///
/// # Errors
/// [`Refused`].
pub(super) async fn sender(app: &App, snapshot: &Snapshot, caller: &Caller) -> Result<Sender, Refused> {
    let policy = &snapshot.policy;
    let (may, registrar, device) = match snapshot.recognise(app.tailnet.identify_caller(caller).await?) {
        Sighting::Unknown => {
            outside(snapshot)?;
            return Ok(Sender { registrar: Registrar::Outside, node: None });
        }
        Sighting::Refused(why) => return Err(Refused::Denied(why.to_string())),
        Sighting::Person(identity) => {
            let registrar = Registrar::Application(Registrant::of(&identity));
            (policy.may_register(&identity), registrar, identity.device.id.clone())
        }
        Sighting::Workload(workload) => {
            let own = !workload.routes_for_others && !workload.external;
            let may = own && policy.node_may_register(&workload.rules, &workload.device.tags);
            let registrar = Registrar::Workload { node: workload.device.name.clone() };
            (may, registrar, workload.device.id.clone())
        }
    };
    if !may {
        return Err(Refused::Denied(NOT_ALLOWED.to_owned()));
    }
    // A page in somebody's browser is not that person (attack A33): the client that it registers is a stranger to them.
    let registrar = if caller.is_from_web_page() { Registrar::Page } else { registrar };
    Ok(Sender { registrar, node: Some(device.as_str().to_owned()) })
}

/// Whether the internet may; whoever whois does not know gets the same (design section 4).
///
/// # Errors
/// [`Refused::Outside`].
pub(super) fn outside(snapshot: &Snapshot) -> Result<(), Refused> {
    match snapshot.config().registration.from {
        Registering::Anywhere => Ok(()),
        Registering::Tailnet => Err(Refused::Outside),
    }
}

const NOT_ALLOWED: &str = "you may not register clients: ask an administrator for allow_dcr, in a rule of the tailnet policy or as [[rule]] allow_dcr = true, or to add the client with `tsidecar client add`";
