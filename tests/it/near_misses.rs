//! Every slip that explains a refusal, one by one: the body, the help page, the token check, the admin API and
//! the command line say the same of it, in the same words.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use bearward::verdict::NearMiss;
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::issuer::{NOW, raw_token};
use crate::support::provider::set_of;
use crate::support::{Bearward, Provider, TestIssuer, Upstream, block_on};

/// A request that nearly is a good one.
struct Case {
    near: NearMiss,
    /// The `Authorization` field.
    field: String,
    /// The `Date` field, where the evidence is there.
    date: Option<&'static str>,
}

fn case(near: NearMiss, token: &str) -> Case {
    Case {
        near,
        field: format!("Bearer {token}"),
        date: None,
    }
}

/// By what the command line knows of keys.
#[derive(Clone, Copy, PartialEq)]
enum Commands {
    Offline,
    Running,
}

/// Checks that everybody who explains it says the same.
async fn check(gateway: &Gateway, case: &Case, route: &str, commands: Commands) {
    let (near, reason) = (case.near, case.near.reason());
    let name = near.name();
    let mut headers = vec![("authorization", &*case.field)];
    headers.extend(case.date.map(|date| ("date", date)));
    let path = format!("/{route}/1");
    let answer = gateway.http1().send("GET", &path, &headers, "").await;
    let body = answer.json();
    assert_eq!(body["near_miss"], name, "{body}");
    assert_eq!(body["code"], reason.code(), "{name}");
    let hint = body["hint"].as_str().expect("a hint");
    assert!(hint.contains(near.mend()), "{name}: {hint}");

    // The page that the body leads to.
    let page = body["type"].as_str().expect("a URL");
    let page = page.strip_prefix("https://api.test").expect("our own");
    for accept in ["text/html", "application/json", "text/plain"] {
        let page = gateway
            .http1()
            .send("GET", page, &[("accept", accept)], "")
            .await;
        let text = page.text().replace("&quot;", "\"").replace("\\\"", "\"");
        // In HTML, code stands in elements of its own.
        let text = text
            .replace("<code>", "`")
            .replace("</code>", "`")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("\\\\", "\\");
        assert!(text.contains(near.mend()), "{name}, {accept}: {text}");
    }

    // The token check, with the very same headers.
    let check = format!("/.well-known/bearward/check?route={route}");
    let told = gateway.http1().send("GET", &check, &headers, "").await;
    assert_eq!(told.status, 200, "{name}: {}", told.text());
    same(&told.json(), &body, name);

    if case.date.is_some() {
        return;
    }
    // What somebody pastes is the field alone.
    let pasted = format!("Authorization: {}", case.field);
    let question = json!({ "token": pasted, "route": route });
    let told = gateway
        .ask_admin("POST", "/api/v1/tokens/explain", Some(&question))
        .await;
    assert_eq!(told.status, 200, "{name}: {}", told.text());
    same(&told.json(), &body, name);
    same(&by_command(gateway, &pasted, route, commands), &body, name);
}

/// Whether an explanation refuses as the body does.
fn same(told: &Value, body: &Value, name: &str) {
    assert_eq!(told["allowed"], false, "{name}: {told}");
    for member in ["code", "status"] {
        assert_eq!(told[member], body[member], "{name}: {told}");
    }
    for member in ["code", "detail", "hint", "near_miss", "step", "title"] {
        assert_eq!(told["refusal"][member], body[member], "{name}: {told}");
    }
    let steps = told["steps"].as_array().expect("steps");
    let failed: Vec<_> = steps.iter().filter(|it| it["state"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{name}: {told}");
    assert_eq!(failed[0]["text"], body["detail"], "{name}");
    assert_eq!(failed[0]["hint"], body["hint"], "{name}");
    assert_eq!(failed[0]["step"], body["step"], "{name}");
}

fn by_command(gateway: &Gateway, pasted: &str, route: &str, commands: Commands) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
    command.args(["token", "explain", "--json", "--route", route, "--config"]);
    command.arg(gateway.folder().join("bearward.toml"));
    match commands {
        Commands::Offline => {
            command.args(["--at", "2026-11-24T15:04:05Z"]);
        }
        Commands::Running => {
            command.args(["--admin", &format!("http://{}", gateway.admin())]);
        }
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("an input");
    stdin.write_all(pasted.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// One issuer with two keys and two APIs, and another that the route does not trust.
fn gateway(
    main: &TestIssuer,
    second: &TestIssuer,
    partner: &TestIssuer,
    api: &Upstream,
) -> Gateway {
    let bearward = Bearward::new()
        .secret("main.json", &set_of(&[main, second]))
        .trusting("partner", partner, "")
        .upstream("api", api.address, "");
    bearward
        .table(
            r#"
[issuers.main]
issuer = "https://login.example.test/realms/prod/"
audiences = ["https://api.test", "https://billing.test"]
algorithms = ["ES256"]
jwks_file = "main.json"
[endpoints]
check = true
[routes.orders]
path = "/orders/{*rest}"
upstream = "api"
issuers = ["main"]
audiences = ["https://api.test"]
[[routes.orders.rules]]
scopes_all = ["orders:read"]
[routes.partner]
path = "/partner/{*rest}"
upstream = "api"
issuers = ["partner"]
"#,
        )
        .start()
}

fn tokens(main: &TestIssuer, partner: &TestIssuer) -> Vec<Case> {
    use NearMiss as N;
    let good = main.token().sign();
    let of = |iss: &str| main.token().with("iss", iss).sign();
    let for_audience = |aud: Value| main.token().with("aud", aud).sign();
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    // 64 bytes are 86 characters, of which the last two hold one byte.
    let short = format!("{signed}.{}", &signature[..signature.len() - 2]);
    let claims = main.token().claims().to_string();
    let refresh = {
        let header = r#"{"alg":"HS512","kid":"refresh"}"#;
        let mut claims = main.token().claims().clone();
        claims["typ"] = "Refresh".into();
        raw_token(header, &claims.to_string(), &[7; 64])
    };
    let unsigned = raw_token(r#"{"alg":"none"}"#, &claims, b"");
    let nameless = raw_token(r#"{"alg":"ES256","typ":"at+jwt"}"#, &claims, &[7; 64]);
    let mut cases = vec![
        case(N::Empty, ""),
        case(N::Placeholder, "${TOKEN}"),
        case(N::BearerTwice, &format!("Bearer {good}")),
        case(
            N::Json,
            &format!("{{\"access_token\":\"{good}\",\"token_type\":\"Bearer\"}}"),
        ),
        case(N::Quoted, &format!("<{good}>")),
        case(N::Cut, &good[..40]),
        case(N::Trailing, &format!("{good},")),
        case(N::Quoted, &format!("\"{good}\"")),
        case(N::LineBreak, &format!("{good}\\n")),
        case(N::LineBreak, &format!("{good}%0A")),
        case(N::UrlEscaped, &good.replace('.', "%2E")),
        case(N::Trailing, &format!("{good} ;")),
        case(N::Encrypted, "a.b.c.d.e"),
        case(N::Opaque, "0123456789abcdef"),
        case(N::Cut, signed),
        case(
            N::IssuerSlash,
            &of("https://login.example.test/realms/prod"),
        ),
        case(
            N::IssuerScheme,
            &of("http://login.example.test/realms/prod/"),
        ),
        case(
            N::IssuerCase,
            &of("https://login.example.test/realms/Prod/"),
        ),
        case(
            N::IssuerSpelling,
            &of("HTTP://login.example.test/realms/prod"),
        ),
        case(
            N::IssuerEnvironment,
            &of("https://staging.login.example.test/realms/prod/"),
        ),
        case(
            N::IssuerTenant,
            &of("https://login.example.test/realms/dev/"),
        ),
        case(N::IssuerOtherRoute, &partner.token().sign()),
        case(N::Unsigned, &unsigned),
        case(N::RefreshTokenAlg, &refresh),
        case(N::KeyOfOtherIssuer, &main.token().signed_by(partner).sign()),
        case(N::NoKid, &nameless),
        case(N::CutInSignature, &good[..good.len() - 1]),
        case(N::SignatureCut, &short),
        case(
            N::IdToken,
            &main.token().typed(Some("JWT")).with("nonce", "n").sign(),
        ),
        case(
            N::RefreshToken,
            &main
                .token()
                .typed(Some("JWT"))
                .with("typ", "Refresh")
                .sign(),
        ),
        case(N::PlainJwt, &main.token().typed(Some("JWT")).sign()),
        case(N::PlainJwt, &main.token().typed(None).sign()),
        case(
            N::ExpiredJustNow,
            &main.token().with("exp", NOW - 40).sign(),
        ),
        case(
            N::IssuedInMilliseconds,
            &main
                .token()
                .with("iat", NOW * 1000)
                .with("exp", NOW * 1000 + 600_000)
                .sign(),
        ),
        case(
            N::EarlyInMilliseconds,
            &main.token().with("nbf", NOW * 1000).sign(),
        ),
        case(
            N::LifetimeInMilliseconds,
            &main.token().with("exp", NOW * 1000).sign(),
        ),
        case(
            N::EarlyByMoments,
            &main.token().with("nbf", NOW + 40).sign(),
        ),
        case(
            N::AudienceSlash,
            &for_audience(json!(["https://api.test/"])),
        ),
        case(N::AudienceScheme, &for_audience(json!("http://api.test"))),
        case(N::AudienceCase, &for_audience(json!("https://API.test"))),
        case(
            N::AudienceSpelling,
            &for_audience(json!("HTTP://api.test/")),
        ),
        case(
            N::AudienceIsClient,
            &main
                .token()
                .with("aud", "web-app")
                .with("at_hash", "x")
                .sign(),
        ),
        case(
            N::AudienceJoined,
            &for_audience(json!("https://api.test https://billing.test")),
        ),
        case(
            N::AudienceOtherRoute,
            &for_audience(json!("https://billing.test")),
        ),
        case(N::AudienceIsClient, &for_audience(json!(["test-client"]))),
        case(
            N::ScopeSeparator,
            &main
                .token()
                .with("scope", "orders:write,orders:read")
                .sign(),
        ),
        case(
            N::ScopeShadowed,
            &main
                .token()
                .with("scope", "")
                .with("scp", json!(["orders:read"]))
                .sign(),
        ),
        case(
            N::ScopeElsewhere,
            &main
                .token()
                .without("scope")
                .with("roles", json!(["orders:read"]))
                .sign(),
        ),
        case(
            N::ScopeCase,
            &main.token().with("scope", "Orders:Read").sign(),
        ),
    ];
    for (near, field) in [
        (N::BearerColon, format!("Bearer: {good}")),
        (N::HeaderQuoted, format!("\"Bearer {good}\"")),
        (N::OtherWord, format!("Token {good}")),
    ] {
        cases.push(Case {
            near,
            field,
            date: None,
        });
    }
    cases.push(Case {
        near: N::BareToken,
        field: good,
        date: None,
    });
    cases.push(Case {
        near: N::ClientClockBehind,
        field: format!("Bearer {}", main.token().with("exp", NOW - 300).sign()),
        date: Some("Tue, 24 Nov 2026 14:58:05 GMT"),
    });
    cases
}

#[test]
fn everybody_who_explains_a_slip_says_the_same() {
    let main = TestIssuer::new("https://login.example.test/realms/prod/", "ES256", "main-1");
    let second = TestIssuer::new(&main.identifier, "ES256", "main-2");
    let partner = TestIssuer::new("https://partner.test/", "ES256", "partner-1");
    let api = Upstream::echo();
    let cases = tokens(&main, &partner);
    // One client may have its tokens checked so often only, and the clock stands.
    for some in cases.chunks(15) {
        let gateway = gateway(&main, &second, &partner, &api);
        block_on(async {
            for case in some {
                check(&gateway, case, "orders", Commands::Offline).await;
            }
        });
    }
    let seen: BTreeSet<NearMiss> = cases.iter().map(|case| case.near).collect();
    let rest: Vec<_> = NearMiss::ALL
        .iter()
        .filter(|near| !seen.contains(near))
        .collect();
    // These need a provider that has told its time, or has changed its keys: below.
    use NearMiss as N;
    let others = [
        &N::KeyRotated,
        &N::ClocksDifferExpired,
        &N::ClocksDiffer,
        &N::GatewayClock,
        &N::ClocksDifferEarly,
    ];
    assert_eq!(rest, others);
}

/// Issuers whose keys are fetched; each has a route of its name.
fn with_providers(issuers: &[(&str, &TestIssuer, &Provider)], api: &Upstream) -> Gateway {
    let mut bearward = Bearward::new()
        .upstream("api", api.address, "")
        .table("[endpoints]\ncheck = true\n");
    for (name, issuer, provider) in issuers {
        bearward = bearward.table(&format!(
            "[issuers.{name}]\nissuer = \"{}\"\naudiences = [\"https://api.test\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{}/jwks\"\njwks = {{ allow_http_loopback = true }}\n[routes.{name}]\npath = \"/{name}/{{*rest}}\"\nupstream = \"api\"\nissuers = [\"{name}\"]\n",
            issuer.identifier, provider.base
        ));
    }
    bearward.start()
}

/// A provider that tells this time.
fn provider(issuer: &TestIssuer, date: &str) -> Provider {
    let provider = Provider::start();
    provider.set_with("/jwks", 200, &set_of(&[issuer]), &[("date", date)]);
    provider
}

const EXACT: &str = "Tue, 24 Nov 2026 15:04:05 GMT";
const AHEAD: &str = "Tue, 24 Nov 2026 15:04:25 GMT";
const BEHIND: &str = "Tue, 24 Nov 2026 15:03:45 GMT";

#[test]
fn whose_clock_is_off_is_said_where_the_evidence_is_there() {
    let issuer = |name: &str| TestIssuer::new(&format!("https://{name}.test/"), "ES256", name);
    let (exact, ahead, behind) = (issuer("exact"), issuer("ahead"), issuer("behind"));
    let api = Upstream::echo();
    let providers = [
        provider(&exact, EXACT),
        provider(&ahead, AHEAD),
        provider(&behind, BEHIND),
    ];
    let [at_exact, at_ahead, at_behind] = &providers;
    let gateway = with_providers(
        &[
            ("exact", &exact, at_exact),
            ("ahead", &ahead, at_ahead),
            ("behind", &behind, at_behind),
        ],
        &api,
    );
    let online = Commands::Running;
    block_on(async {
        gateway.ready().await;
        let future = case(
            NearMiss::ClocksDiffer,
            &ahead.token().with("iat", NOW + 40).sign(),
        );
        check(&gateway, &future, "ahead", online).await;
        let early = case(
            NearMiss::ClocksDifferEarly,
            &ahead.token().with("nbf", NOW + 40).sign(),
        );
        check(&gateway, &early, "ahead", online).await;
        let late = case(
            NearMiss::ClocksDifferExpired,
            &behind.token().with("exp", NOW - 40).sign(),
        );
        check(&gateway, &late, "behind", online).await;
        // The same from an issuer whose clock agrees is not a matter of clocks that differ.
        let early = case(
            NearMiss::EarlyByMoments,
            &exact.token().with("nbf", NOW + 40).sign(),
        );
        check(&gateway, &early, "exact", online).await;
    });
    // Where all issuers say so, it is ours.
    let other = issuer("other");
    let at_other = provider(&other, AHEAD);
    let gateway = with_providers(
        &[("ahead", &ahead, at_ahead), ("other", &other, &at_other)],
        &api,
    );
    block_on(async {
        gateway.ready().await;
        let future = case(
            NearMiss::GatewayClock,
            &ahead.token().with("iat", NOW + 40).sign(),
        );
        check(&gateway, &future, "ahead", online).await;
    });
}

#[test]
fn a_key_that_was_taken_back_is_named_so() {
    let old = TestIssuer::new("https://login.test/", "ES256", "old");
    let new = TestIssuer::new("https://login.test/", "ES256", "new");
    let api = Upstream::echo();
    let provider = provider(&old, EXACT);
    let gateway = with_providers(&[("main", &old, &provider)], &api);
    block_on(async {
        gateway.ready().await;
        assert_eq!(
            gateway
                .http1()
                .get("/main/1", &old.token().sign())
                .await
                .status,
            200
        );
        provider.publish(&[&new]);
        assert_eq!(gateway.refresh("main").await.0, 200);
        let old = case(NearMiss::KeyRotated, &old.token().sign());
        check(&gateway, &old, "main", Commands::Running).await;
        assert_eq!(
            gateway
                .http1()
                .get("/main/1", &new.token().sign())
                .await
                .status,
            200
        );
    });
}
