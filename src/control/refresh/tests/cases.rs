//! What a keeper promises: freshness, outages, lies, floods.

use super::*;

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_before_the_soft_limit_and_not_much_more_often() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"]), Does::Same]);
    settle().await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
    assert_eq!(world.asked(), 1);
    for round in 1..20 {
        let next = world.status.notes().next_fetch.expect("a time");
        let wait = next.since(world.clock.now());
        assert!(wait <= REFRESH && wait >= REFRESH.mul_f64(0.79), "{wait:?}");
        pass(wait - Duration::from_secs(1)).await;
        assert_eq!(world.asked(), round, "not yet");
        pass(Duration::from_secs(2)).await;
        assert_eq!(world.asked(), round + 1, "before the limit");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_survived_until_the_hard_limit_and_not_beyond() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"]), Does::Fails]);
    settle().await;
    pass(STALE_MAX - Duration::from_secs(1)).await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]), "good to the last");
    let (_, error) = world.status.notes().failed.expect("an error");
    assert_eq!(error, FetchError::Broken);
    pass(Duration::from_secs(2)).await;
    assert_eq!(world.kids(), None, "too old");
    // It comes back by itself, within the longest pause between tries.
    world.then(&[keys.set(&["a"])]);
    pass(Duration::from_secs(31)).await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
    assert!(world.status.notes().failed.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_confirms_by_304_does_not_grow_stale() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"]), Does::Same]);
    pass(STALE_MAX * 3).await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_provider_may_ask_for_a_sooner_fetch_but_not_for_a_storm() {
    let keys = Keys::new(&["a"]);
    let hurried = Does::Says(keys.document(&["a"]), Duration::from_secs(60));
    let world = World::start(&[hurried]);
    pass(Duration::from_secs(600)).await;
    assert!((10..=14).contains(&world.asked()), "{}", world.asked());
    let never = Does::Says(keys.document(&["a"]), Duration::ZERO);
    let world = World::start(&[never]);
    pass(Duration::from_secs(600)).await;
    assert!((20..=27).contains(&world.asked()), "{}", world.asked());
    let lazy = Does::Says(keys.document(&["a"]), STALE_MAX);
    let world = World::start(&[lazy]);
    pass(Duration::from_secs(600)).await;
    assert_eq!(world.asked(), 2, "the operator's limit holds");
}

#[tokio::test(start_paused = true)]
async fn garbage_never_replaces_a_good_set() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    for garbage in [
        "",
        "<html>",
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}",
    ] {
        world.then(&[Does::Gives(garbage.to_owned())]);
        assert!(world.refresh().await.is_err(), "{garbage}");
        assert_eq!(world.kids(), Some(vec!["a".to_owned()]), "{garbage}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exposed_key_goes_at_once_and_never_comes_back() {
    let keys = Keys::new(&["a", "b"]);
    let mut world = World::start(&[keys.set(&["a", "b"])]);
    settle().await;
    // Published with its private part beside the other.
    world.then(&[keys.with_private_part(&["b"], "a")]);
    world.refresh().await.expect("a set");
    assert_eq!(world.kids(), Some(vec!["b".to_owned()]));
    // Cleaned up at the provider: too late.
    world.then(&[keys.set(&["a", "b"])]);
    world.refresh().await.expect("a set");
    assert_eq!(world.kids(), Some(vec!["b".to_owned()]));
    // The last one too, in a set that has no usable key: a good set is kept, an exposed key is not.
    world.then(&[keys.with_private_part(&[], "b")]);
    assert!(world.refresh().await.is_err());
    assert_eq!(world.kids(), None);
    assert_eq!(world.status.notes().distrusted, 2);
    // A restart remembers.
    let record = world.records.borrow_and_update().clone();
    let beginning = Beginning {
        keys: None,
        distrusted: record.exposed,
    };
    let world = World::start_with(&[keys.set(&["a", "b"])], beginning, false);
    settle().await;
    assert_eq!(world.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_answers_no_more_than_the_bucket_and_all_are_answered() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"]), Does::Hangs]);
    settle().await;
    let waits: Vec<_> = (0..50).map(|n| format!("forged-{n}")).collect();
    let started = Instant::now();
    let waits = waits.iter().map(|kid| world.find(kid));
    for wait in waits {
        wait.await;
    }
    // Two fetches that hang, and nothing more.
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_gets_through_a_flood_of_forged_key_ids() {
    let keys = Keys::new(&["a", "b"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    for n in 0..1000 {
        world.find(&format!("forged-{n}")).await;
    }
    assert_eq!(world.asked(), 3, "the first, and two in hand");
    world.then(&[keys.set(&["a", "b"])]);
    for n in 0..1000 {
        world.find(&format!("more-{n}")).await;
    }
    pass(GAP).await;
    // Whoever comes first after the gap brings the new set for all.
    world.find("forged-again").await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(world.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_forged_key_ids_in_ten_seconds_are_two_fetches() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    for second in 0..10 {
        for n in 0..10_000 {
            world.find(&format!("forged-{second}-{n}")).await;
        }
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(world.asked(), 3, "the first, and two in hand");
    assert_eq!(world.status.unknown_kids.load(Ordering::Relaxed), 100_000);
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn on_demand_waits_for_the_first_token_and_then_keeps_fresh() {
    let keys = Keys::new(&["a"]);
    let world = World::start_with(&[keys.set(&["a"])], Beginning::default(), true);
    pass(REFRESH * 3).await;
    assert_eq!(world.asked(), 0);
    world.find("a").await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
    pass(REFRESH).await;
    assert_eq!(world.asked(), 2);
    // A provider that is down sets the pace, not the tokens.
    let world = World::start_with(&[Does::Fails], Beginning::default(), true);
    settle().await;
    for _ in 0..100 {
        world.find("a").await;
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_saved_set_serves_for_the_rest_of_its_time() {
    let keys = Keys::new(&["a"]);
    let document: Bytes = keys.document(&["a"]).into();
    let published = jwks::read(&document, issuer().algorithms, &HashSet::new());
    let (set, _) = published.expect("a set").into_set().expect("a key");
    let beginning = Beginning {
        keys: Some(BegunKeys {
            keys: Arc::new(set),
            document,
            seen_at: UnixTime::from_secs(1_795_532_645 - 3600),
            age: Duration::from_secs(3600),
        }),
        distrusted: HashSet::new(),
    };
    let world = World::start_with(&[Does::Fails], beginning, false);
    pass(STALE_MAX - Duration::from_secs(3601)).await;
    assert!(world.status.notes().stale_at.is_some());
    pass(Duration::from_secs(2)).await;
    assert!(world.status.notes().stale_at.is_none(), "expired on time");
    assert_eq!(world.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn a_burst_during_a_slow_fetch_waits_for_it_and_nobody_is_dropped() {
    let keys = Keys::new(&["a", "b"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    let second = Duration::from_secs(1);
    world.then(&[Does::Slowly(keys.document(&["a", "b"]), second)]);
    let askers: Vec<_> = (0..3000).map(|_| world.find("b")).collect();
    let mut running: Vec<_> = askers.into_iter().map(Box::pin).collect();
    let mut slowest = Duration::ZERO;
    for asker in &mut running {
        slowest = slowest.max(asker.await);
    }
    assert!(slowest <= second + second / 2, "{slowest:?}");
    assert_eq!(world.asked(), 2, "one fetch for all");
    assert_eq!(world.kids().map(|kids| kids.len()), Some(2));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_during_a_fetch_that_began_before_gets_one_of_their_own() {
    let keys = Keys::new(&["a", "b"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    let second = Duration::from_secs(1);
    // The first fetch began before `b` was published and does not bring it.
    world.then(&[
        Does::Slowly(keys.document(&["a"]), second),
        keys.set(&["a", "b"]),
    ]);
    let forged = world.find("forged");
    let real = async {
        tokio::time::sleep(second / 2).await;
        world.find("b").await;
        assert_eq!(world.kids().map(|kids| kids.len()), Some(2));
    };
    tokio::join!(forged, real);
    assert_eq!(world.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_hard_limit_holds_while_a_fetch_hangs() {
    let keys = Keys::new(&["a"]);
    let forever = Does::Slowly(keys.document(&["a"]), STALE_MAX * 10);
    let world = World::start(&[keys.set(&["a"]), forever]);
    settle().await;
    pass(STALE_MAX - Duration::from_secs(1)).await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
    pass(Duration::from_secs(2)).await;
    assert_eq!(world.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_removed_key_do_not_use_up_the_next_rotations_fetches() {
    let keys = Keys::new(&["a", "b", "c", "d"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    world.then(&[keys.set(&["b"])]);
    world.find("b").await;
    for _ in 0..100 {
        world.find("a").await;
    }
    assert_eq!(world.asked(), 2, "a is known to be gone");
    world.then(&[keys.set(&["c"])]);
    world.find("c").await;
    assert_eq!(world.kids(), Some(vec!["c".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_exposes_more_keys_than_can_be_remembered_is_not_trusted() {
    let keys = Keys::new(&["a", "z"]);
    let distrusted = (0..1023_u32).map(|n| {
        let mut print = [0; 32];
        print[..4].copy_from_slice(&n.to_be_bytes());
        Thumbprint(print)
    });
    let beginning = Beginning {
        keys: None,
        distrusted: distrusted.collect(),
    };
    let world = World::start_with(&[keys.set(&["a", "z"])], beginning, false);
    settle().await;
    assert_eq!(world.kids().map(|kids| kids.len()), Some(2));
    world.then(&[keys.with_private_part(&["z"], "a")]);
    assert!(
        world.refresh().await.is_ok(),
        "the last that can be remembered"
    );
    assert_eq!(world.kids(), Some(vec!["z".to_owned()]));
    world.then(&[keys.with_private_part(&["a"], "z")]);
    assert_eq!(world.refresh().await, Err(FetchError::TooManyExposed));
    assert_eq!(world.kids(), None);
    world.then(&[keys.set(&["z"])]);
    assert_eq!(world.refresh().await, Err(FetchError::TooManyExposed));
    assert_eq!(world.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn not_modified_after_the_set_was_given_up_is_asked_for_anew() {
    let keys = Keys::new(&["a"]);
    let world = World::start(&[keys.set(&["a"]), Does::SlowlySame(STALE_MAX * 2)]);
    settle().await;
    pass(STALE_MAX * 2 + REFRESH).await;
    let (_, error) = world.status.notes().failed.expect("a failure");
    assert_eq!(error, FetchError::Status(304));
    world.then(&[keys.set(&["a"])]);
    pass(STALE_MAX * 2).await;
    assert_eq!(world.kids(), Some(vec!["a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_forged_key_id_does_not_make_good_tokens_wait_for_a_second_fetch() {
    let keys = Keys::new(&["a", "b"]);
    let world = World::start(&[keys.set(&["a"])]);
    settle().await;
    let second = Duration::from_secs(1);
    world.then(&[Does::Slowly(keys.document(&["a", "b"]), second)]);
    let good = async {
        tokio::time::sleep(second / 10).await;
        let took = world.find("b").await;
        assert!(took < second, "{took:?}");
    };
    let (_, _, ()) = tokio::join!(world.find("b"), world.find("forged"), good);
}
