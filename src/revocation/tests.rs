//! The list and its index: exact, idempotent, forgetful at the right time, whole over a restart.

use std::sync::Arc;

use super::*;

const ISSUER: &str = "https://a.test/";

fn revocation(
    id: u128,
    kind: Kind,
    value: &str,
    cut: Option<i64>,
    until: Option<i64>,
) -> Revocation {
    Revocation {
        id: Uuid::from_u128(id),
        selector: Selector {
            issuer: ISSUER.into(),
            kind,
            value: value.into(),
        },
        issued_before: cut.map(UnixTime::from_secs),
        until: until.map(UnixTime::from_secs),
        reason: Some("a reason".into()),
        author: "test".into(),
        at: UnixTime::from_secs(1000),
    }
}

fn question<'a>(subject: &'a str, issued_at: Option<i64>) -> Question<'a> {
    Question {
        issuer: ISSUER,
        fingerprint: &[7; 32],
        jti: Some("one"),
        session: None,
        subject: Some(subject),
        client: None,
        kid: Some("k"),
        key_kid: None,
        issued_at: issued_at.map(UnixTime::from_secs),
    }
}

#[test]
fn a_cut_takes_what_was_issued_at_it_or_before_and_what_does_not_say_when() {
    let list = Revocations::in_memory().expect("a list");
    let cut = revocation(1, Kind::Subject, "alice", Some(100), None);
    list.add(vec![cut]).expect("room");
    for (subject, issued_at, dead) in [
        ("alice", Some(99), true),
        ("alice", Some(100), true),
        ("alice", Some(101), false),
        ("alice", None, true),
        ("bob", Some(99), false),
    ] {
        let hit = list.ask(&question(subject, issued_at));
        assert_eq!(hit.is_some(), dead, "{subject} {issued_at:?}");
    }
    let elsewhere = Question {
        issuer: "https://b.test/",
        ..question("alice", Some(99))
    };
    assert_eq!(list.ask(&elsewhere), None);
}

#[test]
fn the_same_again_is_the_same_and_lives_as_long_as_the_longer() {
    let list = Revocations::in_memory().expect("a list");
    let first = revocation(1, Kind::Jti, "one", None, Some(2000));
    let added = list.add(vec![first.clone()]).expect("room");
    assert_eq!(added, [Added::New(first.clone())]);
    for (again, until) in [
        (Some(1500), Some(2000)),
        (Some(3000), Some(3000)),
        (None, None),
    ] {
        let again = revocation(2, Kind::Jti, "one", None, again);
        let known = Revocation {
            until: until.map(UnixTime::from_secs),
            ..first.clone()
        };
        assert_eq!(list.add(vec![again]).expect("room"), [Added::Known(known)]);
    }
    assert_eq!(list.len(), 1);
    // It does not run out any more.
    assert!(
        list.forget_expired(UnixTime::from_secs(9000))
            .expect("a list")
            .is_empty()
    );
    assert!(list.ask(&question("alice", None)).is_some());
}

#[test]
fn what_has_run_out_is_forgotten_and_what_is_taken_back_lets_in_again() {
    let list = Revocations::in_memory().expect("a list");
    let many: Vec<_> = (0..100)
        .map(|n| {
            revocation(
                n + 1,
                Kind::Subject,
                &n.to_string(),
                None,
                Some(2000 + n as i64),
            )
        })
        .collect();
    list.add(many).expect("room");
    let before = list.generation();
    let gone = list.forget_expired(UnixTime::from_secs(2050));
    assert_eq!(gone.expect("a list").len(), 50);
    assert_eq!((list.len(), list.count(Kind::Subject)), (50, 50));
    assert_ne!(list.generation(), before);
    assert_eq!(list.ask(&question("49", None)), None);
    assert!(list.ask(&question("50", None)).is_some());
    let removed = list.remove(Uuid::from_u128(51)).expect("a list");
    assert_eq!(removed.map(|it| it.selector.value), Some("50".into()));
    assert_eq!(list.ask(&question("50", None)), None);
    assert_eq!(list.remove(Uuid::from_u128(51)).expect("a list"), None);
}

#[test]
fn an_id_of_another_list_is_replaced() {
    let list = Revocations::in_memory().expect("a list");
    list.add(vec![revocation(1, Kind::Jti, "x", None, None)])
        .expect("room");
    let same_id = revocation(1, Kind::Jti, "one", None, None);
    list.add(vec![same_id]).expect("room");
    assert_eq!(list.len(), 2);
    assert!(list.ask(&question("alice", None)).is_some());
    let page = list.page(None, 10, |_| true).expect("a list");
    assert_eq!(page.revocations.len(), 2);
}

#[test]
fn a_key_counts_by_its_own_name_too() {
    let list = Revocations::in_memory().expect("a list");
    list.add(vec![revocation(1, Kind::Key, "stolen", None, None)])
        .expect("room");
    let nameless = Question {
        kid: None,
        key_kid: Some("stolen"),
        ..question("alice", None)
    };
    assert!(list.ask(&nameless).is_some());
    assert_eq!(list.ask(&question("alice", None)), None);
}

#[test]
fn a_list_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = || Kind::ALL.into_iter().enumerate();
    {
        let list = Revocations::open(folder.path()).expect("a list");
        let all = kinds().map(|(n, kind)| revocation(n as u128, kind, "v", Some(5), None));
        list.add(all.collect()).expect("room");
        list.remove(Uuid::from_u128(0)).expect("a list");
    }
    let list = Revocations::open(folder.path()).expect("a list");
    assert!(list.is_durable() && !list.has_lost());
    let page = list.page(None, 100, |_| true).expect("a list");
    let found: Vec<_> = page.revocations.into_iter().rev().collect();
    let expected: Vec<_> = kinds()
        .skip(1)
        .map(|(n, kind)| revocation(n as u128, kind, "v", Some(5), None))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(list.len(), Kind::ALL.len() - 1);
    let subject = Question {
        subject: Some("v"),
        ..question("v", Some(5))
    };
    assert_eq!(list.ask(&subject).map(|hit| hit.by), Some(Kind::Subject));
}

/// Readers never see a token alive that was dead before they asked, whatever writers do meanwhile.
#[test]
fn readers_run_beside_a_writer() {
    let list = Arc::new(Revocations::in_memory().expect("a list"));
    list.add(vec![revocation(1, Kind::Subject, "dead", None, None)])
        .expect("room");
    let writer = {
        let list = Arc::clone(&list);
        std::thread::spawn(move || {
            for n in 2..200 {
                let other = revocation(n, Kind::Subject, &n.to_string(), None, None);
                list.add(vec![other]).expect("room");
                list.remove(Uuid::from_u128(n)).expect("a list");
            }
        })
    };
    while !writer.is_finished() {
        assert!(list.ask(&question("dead", None)).is_some());
        assert_eq!(list.ask(&question("alive", None)), None);
    }
    writer.join().expect("a writer");
    assert_eq!(list.len(), 1);
}

#[test]
fn an_issuer_with_a_quote_does_not_damage_the_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut odd = revocation(1, Kind::Jti, "o\"n\\e", None, None);
    odd.selector.issuer = "https://a.test/\"\\\u{1}".into();
    let list = Revocations::open(folder.path()).expect("a list");
    list.add(vec![odd.clone()]).expect("room");
    drop(list);
    let list = Revocations::open(folder.path()).expect("a list");
    assert!(!list.has_lost());
    let page = list.page(None, 10, |_| true).expect("a page");
    assert_eq!(page.revocations, [odd]);
}

#[test]
fn what_another_process_changed_is_taken_back_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = |id: u128, subject: &str| revocation(id, Kind::Subject, subject, None, None);
    let bites = |list: &Revocations, subject: &str| list.ask(&question(subject, None)).is_some();
    let ours = Revocations::open(folder.path()).expect("a list");
    ours.add(vec![one(1, "stays"), one(2, "goes")])
        .expect("room");
    ours.let_go();
    let refused = ours.add(vec![one(3, "late")]);
    assert!(matches!(refused, Err(StoreError::LetGo)), "{refused:?}");
    assert!(bites(&ours, "goes") && !bites(&ours, "late"));
    let theirs = Revocations::open(folder.path()).expect("a list");
    theirs.remove(Uuid::from_u128(2)).expect("a list");
    theirs.add(vec![one(4, "comes")]).expect("room");
    drop(theirs);
    ours.take_back().expect("a list");
    for (subject, dead) in [("stays", true), ("goes", false), ("comes", true)] {
        assert_eq!(bites(&ours, subject), dead, "{subject}");
    }
    assert_eq!(ours.len(), 2);
    ours.add(vec![one(5, "late")]).expect("room");
    assert!(bites(&ours, "late"));
}
