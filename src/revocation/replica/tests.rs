//! Replicas that hear the same changes, in whatever order, come to the same list.

use proptest::prelude::*;

use super::super::stored::Held;
use super::super::{Again, Change, Kind, Revocation, Revocations, Selector, Unreadable};
use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_795_532_645);

fn revocation(value: u8, until: Option<i64>) -> Revocation {
    Revocation {
        id: Uuid::now_v7(),
        selector: Selector {
            issuer: "https://a.test/".into(),
            kind: Kind::Jti,
            value: value.to_string().into(),
        },
        issued_before: None,
        until: until.map(|seconds| NOW.plus(Duration::from_secs(seconds.unsigned_abs()))),
        reason: None,
        author: "test".into(),
        at: NOW,
    }
}

fn replica() -> Revocations {
    let list = Revocations::in_memory().expect("a list");
    list.shared(Some(("stream", Duration::from_secs(30))), NOW)
        .expect("a feed")
}

fn listed(list: &Revocations) -> Vec<Revocation> {
    let page = list.page(None, 1000, |_| true).expect("a page");
    page.revocations
}

fn told(list: &Revocations) -> Vec<Change> {
    let (untold, rest) = list.untold(&[], 1000).expect("changes");
    assert_eq!(rest, None);
    untold.into_iter().map(|untold| untold.change).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, u8, Option<i64>),
    Remove(usize, u8),
    /// One tells what the others do not know, and all hear it: those in the order that is said.
    Tell(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let value = 0..4_u8;
    let until = proptest::option::of(100..105_i64);
    prop_oneof![
        (0..3_usize, value.clone(), until)
            .prop_map(|(who, value, until)| Step::Add(who, value, until)),
        (0..3_usize, value).prop_map(|(who, value)| Step::Remove(who, value)),
        (0..3_usize, any::<bool>()).prop_map(|(who, backwards)| Step::Tell(who, backwards)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_come_to_the_same(steps in proptest::collection::vec(step(), 1..40)) {
        let replicas = [replica(), replica(), replica()];
        // What each has said, for those who listen later.
        let mut stream: Vec<Change> = Vec::new();
        for step in steps {
            match step {
                Step::Add(who, value, until) => {
                    replicas[who].add(vec![revocation(value, until)]).expect("room");
                }
                Step::Remove(who, value) => {
                    let value = value.to_string();
                    let found = listed(&replicas[who]);
                    if let Some(found) = found.iter().find(|it| *it.selector.value == *value) {
                        replicas[who].remove(found.id).expect("a list");
                    }
                }
                Step::Tell(who, backwards) => {
                    let mut changes = told(&replicas[who]);
                    stream.extend(changes.iter().cloned());
                    if backwards {
                        changes.reverse();
                    }
                    for other in &replicas {
                        other.merge(changes.clone(), None, NOW).expect("a list");
                    }
                }
            }
        }
        // What was said is heard once more in another order, until nobody has anything to say.
        for round in 0..20 {
            let changes: Vec<_> = replicas.iter().flat_map(told).collect();
            if changes.is_empty() && round > 3 {
                break;
            }
            prop_assert!(round < 19, "they do not come to an end");
            stream.extend(changes);
            for replica in &replicas {
                stream.reverse();
                replica.merge(stream.clone(), None, NOW).expect("a list");
            }
        }
        let first = listed(&replicas[0]);
        for replica in &replicas {
            prop_assert_eq!(&listed(replica), &first);
            prop_assert_eq!(replica.len(), first.len());
        }
    }
}

#[test]
fn what_was_taken_back_does_not_come_again() {
    let (one, two) = (replica(), replica());
    let added = one.add(vec![revocation(1, None)]).expect("room");
    let old = told(&one);
    two.merge(old.clone(), None, NOW).expect("a list");
    assert_eq!((two.len(), added.len()), (1, 1));
    let id = listed(&two)[0].id;
    two.remove(id).expect("a list");
    let merged = two.merge(old.clone(), None, NOW).expect("a list");
    assert_eq!(two.len(), 0, "a late word of it changes nothing");
    assert_eq!(merged.over, [old[0].held.version]);
    let merged = one.merge(told(&two), None, NOW).expect("a list");
    assert_eq!((merged.removed, one.len()), (1, 0));
    assert_eq!(told(&one), [], "the others know it");
}

#[test]
fn of_two_ends_the_later_counts_on_all() {
    let (one, two) = (replica(), replica());
    one.add(vec![revocation(1, None)]).expect("room");
    two.add(vec![revocation(1, Some(50))]).expect("room");
    let (from_one, from_two) = (told(&one), told(&two));
    one.merge(from_two, None, NOW).expect("a list");
    two.merge(from_one, None, NOW).expect("a list");
    two.merge(told(&one), None, NOW).expect("a list");
    one.merge(told(&two), None, NOW).expect("a list");
    for list in [&one, &two] {
        assert_eq!(listed(list)[0].until, None);
    }
    assert_eq!(listed(&one), listed(&two));
}

#[test]
fn to_revoke_once_more_counts_more_than_an_older_removal_that_is_on_its_way() {
    let (one, two) = (replica(), replica());
    let first = revocation(1, None);
    one.add(vec![first.clone()]).expect("room");
    for list in [&one, &two] {
        list.merge(told(&one), None, NOW).expect("a list");
    }
    let changes = told(&one);
    two.merge(changes, None, NOW).expect("a list");
    two.remove(first.id).expect("a list");
    let removal = told(&two);
    let again = one.add(vec![revocation(1, None)]).expect("room");
    assert_eq!(again, [crate::revocation::Added::Known(first)]);
    let says = told(&one);
    for list in [&one, &two] {
        list.merge(removal.clone(), None, NOW).expect("a list");
        list.merge(says.clone(), None, NOW).expect("a list");
        assert_eq!((list.len(), listed(list).len()), (1, 1));
    }
    // A file that is read once more says nothing new.
    let again = vec![revocation(1, None)];
    one.add_again(again, Again::Said).expect("room");
    assert_eq!(told(&one), []);
}

#[test]
fn a_state_that_is_superseded_is_named_whichever_side_it_was_on() {
    let (one, two) = (replica(), replica());
    one.add(vec![revocation(1, None)]).expect("room");
    two.add(vec![revocation(1, None)]).expect("room");
    let (older, newer) = (told(&one), told(&two));
    let over = |merged: Merged| merged.over;
    let old = [older[0].held.version];
    assert_eq!(
        over(one.merge(newer.clone(), None, NOW).expect("a list")),
        old
    );
    assert_eq!(over(two.merge(older, None, NOW).expect("a list")), old);
    assert!(over(two.merge(newer, None, NOW).expect("a list")).is_empty());
}

#[test]
fn what_no_list_takes_is_not_taken_from_a_replica() {
    let sound = Change {
        held: Held::new(revocation(1, None)),
        removed: false,
    };
    assert!(Change::read(&sound.to_bytes().expect("bytes")).is_ok());
    for odd in [
        |it: &mut Revocation| it.selector.value = "".into(),
        |it| it.selector.value = "x".repeat(1025).into(),
        |it| it.selector.issuer = "x".repeat(1025).into(),
        |it| it.reason = Some("x".repeat(1025).into()),
        |it| it.author = "x".repeat(1025).into(),
        |it| it.selector.kind = Kind::Token,
        |it| it.selector.kind = Kind::Issuer,
    ] as [fn(&mut Revocation); 7]
    {
        let mut change = sound.clone();
        odd(&mut change.held.revocation);
        let read = Change::read(&change.to_bytes().expect("bytes"));
        assert_eq!(read, Err(Unreadable::Unknown));
    }
    for version in [
        "4b5a6f0e-7e61-4c6b-9c3e-000000000000",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "019ab4c2-0000-7000-c000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ] {
        let mut change = sound.clone();
        change.held.version = version.parse().expect("a UUID");
        let read = Change::read(&change.to_bytes().expect("bytes"));
        assert_eq!(read, Err(Unreadable::Unknown), "{version}");
    }
}

#[test]
fn a_change_with_a_flipped_bit_is_told_from_one_that_is_not_known() {
    let change = Change {
        held: Held::new(revocation(1, None)),
        removed: false,
    };
    let bytes = change.to_bytes().expect("bytes");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(Change::read(&flipped), Err(Unreadable::Damaged), "{at}");
        }
    }
}

#[test]
fn a_version_follows_each_version() {
    for version in [
        "019ab4c2-0000-7000-8000-000000000000",
        "f19ab4c2-ffff-7fff-bfff-ffffffffffff",
    ] {
        let held = Held {
            version: version.parse().expect("a UUID"),
            ..Held::new(revocation(1, None))
        };
        let next = held.followed_by(held.revocation.clone()).version;
        assert!(next > held.version, "{next} after {version}");
        assert_eq!(next.get_version_num(), 7);
    }
}

#[test]
fn an_import_has_a_version_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = Revocations::open(folder.path()).expect("a list");
    let imported = Revocation {
        id: "4b5a6f0e-7e61-4c6b-9c3e-000000000000"
            .parse()
            .expect("a UUID"),
        ..revocation(1, None)
    };
    list.add(vec![imported.clone()]).expect("room");
    drop(list);
    let list = Revocations::open(folder.path()).expect("a list");
    let list = list.shared(Some(("s", Duration::from_secs(30))), NOW);
    let list = list.expect("a feed");
    list.tell_unknown(&HashSet::new()).expect("a list");
    let told = told(&list);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].held.revocation.id, imported.id);
    assert_eq!(told[0].held.version.get_version_num(), 7);
}

#[test]
fn what_is_not_taken_keeps_no_other_back() {
    let list = replica();
    let many = (0..5).map(|value| revocation(value, None)).collect();
    list.add(many).expect("room");
    let (mut seen, mut from) = (HashSet::new(), Some(Place::new()));
    while let Some(place) = from {
        let (untold, next) = list.untold(&place, 2).expect("changes");
        assert!(untold.len() <= 2);
        seen.extend(untold.iter().map(|it| it.change.held.version));
        from = next;
    }
    assert_eq!(seen.len(), 5, "although none of them was told");
}

#[test]
fn two_selectors_with_one_id_have_versions_of_their_own() {
    let (one, two) = (replica(), replica());
    let first = revocation(1, None);
    let second = Revocation {
        id: first.id,
        ..revocation(2, None)
    };
    one.add(vec![first.clone(), second]).expect("room");
    let third = Revocation {
        id: first.id,
        ..revocation(3, None)
    };
    two.add(vec![third]).expect("room");
    let changes: Vec<_> = [&one, &two].into_iter().flat_map(told).collect();
    let versions: HashSet<_> = changes.iter().map(|change| change.held.version).collect();
    assert_eq!((changes.len(), versions.len()), (3, 3));
    for list in [&one, &two] {
        list.merge(changes.clone(), None, NOW).expect("a list");
        assert_eq!((list.len(), told(list).len()), (3, 0));
    }
}

#[test]
fn another_stream_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let feed = |stream| Some((stream, Duration::from_secs(30)));
    let open = |stream| {
        let list = Revocations::open(folder.path()).expect("a list");
        list.shared(feed(stream), NOW).expect("a feed")
    };
    let list = open("one");
    list.merge(Vec::new(), Some("7-0"), NOW).expect("a list");
    drop(list);
    assert_eq!(
        open("one").cursor().expect("a list").as_deref(),
        Some("7-0")
    );
    assert_eq!(open("two").cursor().expect("a list"), None);
    let list = Revocations::open(folder.path()).expect("a list");
    drop(list.shared(None, NOW).expect("no feed"));
    assert_eq!(open("two").cursor().expect("a list"), None);
}

#[test]
fn a_clock_that_was_set_back_does_not_make_the_list_young() {
    let since = Since {
        at: NOW,
        heard: false,
    };
    let feed = Feed::new(Duration::from_secs(30), since);
    assert!(!feed.is_current(NOW), "nothing was heard yet");
    feed.heard(NOW);
    let after = |seconds| feed.is_current(NOW.plus(Duration::from_secs(seconds)));
    assert_eq!((after(0), after(30), after(31)), (true, true, false));
    let before = |seconds| feed.is_current(UnixTime::from_secs(NOW.secs() - seconds));
    assert_eq!((before(5), before(6)), (true, false));
}

#[test]
fn what_was_known_before_a_restart_is_as_old_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |now| {
        let list = Revocations::open(folder.path()).expect("a list");
        let list = list.shared(Some(("s", Duration::from_secs(30))), now);
        list.expect("a feed")
    };
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let list = open(NOW);
    assert!(!list.is_whole(NOW), "nothing was heard yet");
    drop(list);
    let list = open(at(5));
    let feed = list.feed().expect("a feed");
    assert_eq!(feed.lag(at(7)).as_secs(), 7, "since it first listened");
    assert!(!list.is_whole(at(7)));
    feed.heard(at(10));
    list.note_heard().expect("a list");
    drop(list);
    let list = open(at(20));
    let feed = list.feed().expect("a feed");
    assert_eq!(feed.lag(at(40)).as_secs(), 30);
    assert!(list.is_whole(at(40)) && !list.is_whole(at(41)));
}
