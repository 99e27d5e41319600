//! What this machine has to give: the state folder, ports, descriptors, certificates that still hold.

use std::io::ErrorKind;
use std::net::TcpListener;

use super::finding::Findings;
use crate::app::{descriptors, folder_is_ours};
use crate::clock::{Clock, SystemClock, spoken};
use crate::config::Config;
use crate::listen::Address;

/// A certificate that ends sooner should have been renewed: automatic renewal begins a month before.
const RENEWED_BEFORE_SECS: i64 = 14 * 86_400;

/// `serving`: the addresses of the gateway that runs, as its configuration writes them.
pub(super) fn look(config: &Config, serving: &[String], findings: &mut Findings) {
    state_folder(config, findings);
    for listener in &config.listeners {
        port(
            &format!("listener {}", listener.name),
            &listener.address,
            serving,
            findings,
        );
        for served in listener.tls.iter().flat_map(|tls| tls.certificates.all()) {
            let names: Vec<_> = served.names().iter().map(ToString::to_string).collect();
            certificate(
                &format!("certificate {}", names.join(", ")),
                &served,
                findings,
            );
        }
    }
    port(
        "admin listener",
        &config.fixed.admin_address,
        serving,
        findings,
    );
    if let Some(address) = &config.fixed.probes {
        port("probes listener", address, serving, findings);
    }
    let (wanted, allowed) = descriptors(config);
    let text = format!("{wanted} open files at most");
    match allowed {
        Some(allowed) if allowed < wanted => findings.bad(
            "file limit",
            format!("{text}, and this shell's limit is {allowed}"),
            "a service has the limit of its unit (LimitNOFILE=); else raise it (`ulimit -n`), or lower `connections` of listeners and upstreams",
        ),
        _ => findings.good("file limit", text),
    }
}

fn state_folder(config: &Config, findings: &mut Findings) {
    let folder = &config.fixed.state_dir;
    let shown = folder.display();
    let usable = tempfile::tempfile_in(folder).and_then(|_| folder_is_ours(folder));
    match usable {
        Ok(()) => findings.good("state folder", format!("{shown} can be written")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // `run` makes it, where it may.
            let absolute = std::path::absolute(folder).unwrap_or_default();
            let above = absolute.ancestors().find(|above| above.exists());
            match above.map(tempfile::tempfile_in) {
                Some(Ok(_)) => findings.good("state folder", format!("{shown} will be made")),
                _ => findings.bad(
                    "state folder",
                    format!("{shown} is not there and cannot be made"),
                    "make it, for the user that Bearward runs as alone (mode 0700)",
                ),
            }
        }
        Err(error) => findings.bad(
            "state folder",
            format!("{shown} cannot be used: {error}"),
            "give it to the user that Bearward runs as, or name another: `server.state_dir`",
        ),
    }
}

fn port(what: &str, address: &Address, serving: &[String], findings: &mut Findings) {
    let shown = address.to_string();
    let Address::Tcp(tcp) = address else {
        findings.skipped(what, format!("{shown} is no port"));
        return;
    };
    if serving.contains(&shown) {
        findings.good(what, format!("{shown} is the gateway's"));
        return;
    }
    match TcpListener::bind(tcp) {
        Ok(_) => findings.good(what, format!("{shown} is free")),
        Err(error) => {
            let to_do = match error.kind() {
                ErrorKind::AddrInUse => {
                    "end what listens there (`ss -ltnp` names it), or take another port"
                }
                ErrorKind::PermissionDenied => {
                    "ports below 1024 need a right: run it by its systemd unit, or `setcap cap_net_bind_service=+ep` on the program"
                }
                ErrorKind::AddrNotAvailable => {
                    "this machine has no such address; \"0.0.0.0\" and \"[::]\" are all of them"
                }
                _ => "take another address",
            };
            findings.bad(what, format!("{shown} cannot be bound: {error}"), to_do);
        }
    }
}

fn certificate(what: &str, served: &crate::tls::certificates::Served, findings: &mut Findings) {
    let (now, end) = (SystemClock.now(), served.not_after());
    let left = end.secs().saturating_sub(now.secs());
    if left <= 0 {
        findings.bad(
            what,
            format!("ended at {end}: clients refuse it"),
            "renew it; a new file counts at once",
        );
    } else if left < RENEWED_BEFORE_SECS {
        let text = format!("ends in {}", spoken(end.since(now)));
        findings.bad(
            what,
            text,
            "find out why it was not renewed; a new file counts at once",
        );
    } else if let Some(trouble) = served.chain_trouble() {
        findings.bad(
            what,
            format!("the chain: {trouble}"),
            "put the intermediate certificates behind it, in their order",
        );
    } else {
        findings.good(what, format!("ends in {}", spoken(end.since(now))));
    }
}
