//! A fleet of real processes with one list of revocations, while its Redis is restarted, stopped, filled,
//! trimmed and emptied.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::feed::{PATH, fed, parts};
use crate::support::client::plain_request;
use crate::support::redis::Redis;
use crate::support::{Client, Process, block_on, eventually};

/// Three processes and what a test knows of them.
struct Fleet {
    processes: Vec<(Process, TempDir)>,
}

fn admin_token(folder: &Path) -> String {
    let token = std::fs::read_to_string(folder.join("state/admin-token")).expect("a token");
    token.trim().to_owned()
}

impl Fleet {
    async fn ask(&self, member: usize, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (process, folder) = &self.processes[member];
        let token = admin_token(folder.path());
        let answer = plain_request(process.admin, method, path, Some(&token), body).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        answer.json()
    }

    async fn revoke(&self, member: usize, jti: &str) -> String {
        let body = json!({ "selector": { "issuer": "main", "jti": jti } });
        let added = self.ask(member, "POST", PATH, Some(&body)).await;
        assert_eq!(added["durable"], true);
        added["id"].as_str().expect("an id").to_owned()
    }

    async fn metric(&self, member: usize, series: &str) -> f64 {
        let (process, _) = &self.processes[member];
        let page = plain_request(process.admin, "GET", "/metrics", None, None)
            .await
            .text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.expect("the series").parse().expect("a number")
    }

    async fn are(&self, connected: bool) {
        let expected = f64::from(u8::from(connected));
        for member in 0..self.processes.len() {
            eventually("the state of the link", async || {
                self.metric(member, "bearward_revocation_feed_connected")
                    .await
                    == expected
            })
            .await;
        }
    }
}

#[test]
fn a_fleet_loses_nothing_whatever_becomes_of_the_server() {
    const ALL: usize = 1000;
    let Some(mut redis) = Redis::start("the fleet", "") else {
        return;
    };
    let (main, upstream) = parts();
    let url = redis.url();
    let gateway = || Process::start(fed(&main, &upstream, &url, ""));
    let fleet = Fleet {
        processes: (0..3).map(|_| gateway()).collect(),
    };
    // Any order will do, as long as it is the same every time.
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("small") % below
    };
    block_on(async {
        fleet.are(true).await;
        let mut ids = Vec::new();
        for n in 0..ALL {
            match n {
                // It comes back empty.
                150 => redis.restart(),
                // It hangs: nobody is refused, nobody hears anything.
                300 => {
                    redis.signal("STOP");
                    fleet.are(false).await;
                }
                400 => redis.signal("CONT"),
                // It takes nothing more.
                500 => {
                    fleet.are(true).await;
                    redis.say("CONFIG SET maxmemory 1mb");
                }
                600 => {
                    let mut untold = 0.0;
                    for member in 0..3 {
                        untold += fleet
                            .metric(member, "bearward_revocation_feed_untold")
                            .await;
                    }
                    assert_eq!(untold, 100.0, "they wait, and nobody was refused");
                    redis.say("CONFIG SET maxmemory 0");
                }
                // One of them hears nothing while the stream is cut off.
                700 => fleet.processes[2].0.signal("STOP"),
                800 => {
                    eventually("what the others say", async || {
                        fleet.metric(0, "bearward_revocation_feed_untold").await == 0.0
                            && fleet.metric(1, "bearward_revocation_feed_untold").await == 0.0
                    })
                    .await;
                    redis.say("XTRIM bearward:revocations MAXLEN 0");
                    fleet.processes[2].0.signal("CONT");
                }
                900 => {
                    redis.say("DEL {bearward:revocations}:all bearward:revocations");
                }
                _ => {}
            }
            let member = if (700..800).contains(&n) {
                random(2)
            } else {
                random(3)
            };
            ids.push(fleet.revoke(member, &format!("r-{n}")).await);
        }
        // Every tenth is taken back, by another.
        for n in (0..ALL).step_by(10) {
            let path = format!("{PATH}/{}", ids[n]);
            for member in 0..3 {
                let counted = async || {
                    let series = "bearward_revocations{selector=\"jti\"}";
                    fleet.metric(member, series).await >= (ALL - n / 10) as f64
                };
                eventually("the whole list", counted).await;
            }
            fleet.ask(random(3), "DELETE", &path, None).await;
        }
        let left = (ALL - ALL / 10) as f64;
        for member in 0..3 {
            eventually("the same list", async || {
                fleet
                    .metric(member, "bearward_revocations{selector=\"jti\"}")
                    .await
                    == left
                    && fleet
                        .metric(member, "bearward_revocation_feed_untold")
                        .await
                        == 0.0
            })
            .await;
        }
        for (process, _) in &fleet.processes {
            let mut kept = Client::http1(process.public).keep().await;
            for n in 0..ALL {
                let token = main.token_now().with("jti", format!("r-{n}")).sign();
                let expected = if n % 10 == 0 { 200 } else { 401 };
                assert_eq!(kept.get("/orders/1", &token).await.0, expected, "r-{n}");
                let other = main.token_now().with("jti", format!("o-{n}")).sign();
                assert_eq!(kept.get("/orders/1", &other).await.0, 200, "o-{n}");
            }
        }
        // What they hold, whoever comes without a list holds too.
        let (process, folder) = gateway();
        let late = Fleet {
            processes: vec![(process, folder)],
        };
        late.are(true).await;
        assert_eq!(
            late.metric(0, "bearward_revocations{selector=\"jti\"}")
                .await,
            left
        );
    });
}
