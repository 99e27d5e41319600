//! A hundred reloads and twenty changes of certificates while clients of all kinds are served: no request
//! fails and no stream breaks.

use crate::support::gateway::{ORDERS, write_certificate};
use crate::support::load::{Load, TALK, talking};
use crate::support::{Bearward, TestIssuer, Upstream, block_on, own_runtime};

const RELOADS: usize = 100;
const CERTIFICATES: usize = 20;

#[test]
fn a_hundred_reloads_under_load_lose_nothing() {
    let main = TestIssuer::new("https://login.test/", "ES256", "main-1");
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let (_talking, talks) = talking();
    let gateway = Bearward::usual(&main, &one)
        .upstream("talk", talks, "")
        .table(TALK)
        .start();
    let load = Load::new(gateway.address(), main.token().sign(), false);
    let runtime = own_runtime();
    let mut clients = load.start(runtime.handle());
    let more = ORDERS
        .replace("orders/{", "more/{")
        .replace("routes.orders", "routes.more");
    let listener = "[listeners.more]\naddress = \"127.0.0.1:0\"\nclear_text = true\n";
    let (one, two) = (one.address.to_string(), two.address.to_string());
    let first = "algorithms = [\"ES256\"]";
    let second = "algorithms = [\"ES256\"]\nleeway = \"1m\"";
    let folder = gateway.folder();
    let admin = [format!("{listener}{more}[admin]"), "[admin]".to_owned()];
    block_on(async {
        for n in 0..RELOADS {
            if n % (RELOADS / CERTIFICATES) == 0 {
                write_certificate(&folder, "tls", &["localhost", "api.test"]);
            }
            match n % 2 {
                0 => {
                    gateway.edit("[admin]", &admin[0]);
                    gateway.edit(&one, &two);
                    gateway.edit(first, second);
                }
                _ => {
                    gateway.edit(&admin[0], "[admin]");
                    gateway.edit(&two, &one);
                    gateway.edit(second, first);
                }
            }
            gateway.reload().await.expect("a reload");
            load.moves_on(&mut clients).await;
        }
        load.end(clients).await;
        let page = gateway.metrics().await;
        assert!(!page.contains("status=\"5"), "{page}");
        for line in [
            "bearward_streams_closed_total{cause=\"draining\"} 0",
            "bearward_upstream_retries_total{upstream=\"orders\"} 0",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    });
}
