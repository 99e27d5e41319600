//! What is no request that could be judged: it is refused like one, with a reason, an id and a line of its own.

use std::sync::Arc;

use http::{Method, Request, Response, Uri};

use super::record::Recorder;
use super::{Downstream, Gateway, Progress};
use crate::http::Body;
use crate::http::network::Origin;
use crate::http::serve::Unreadable;
use crate::observe::Exchange;
use crate::reject::{self, Rejection};

impl Gateway {
    /// Answers what a client sent in place of a request.
    pub(crate) fn refuse(downstream: &Arc<Downstream>, why: Unreadable) -> Response<Body> {
        let rejection = match why {
            Unreadable::Syntax(what) => Rejection::Garbled(what),
            Unreadable::TargetTooLong => Rejection::TargetTooLong,
            Unreadable::HeadersTooLarge => Rejection::HeadersTooLarge,
            Unreadable::TooManyHeaders => Rejection::TooManyHeaders,
        };
        let in_flight = downstream.activity.begin();
        let serving = downstream.serving.load();
        let (lane, front) = (&serving.lane, &serving.front);
        let now = lane.gateway.clock.now();
        // Nothing that it says of itself is believed.
        let (parts, ()) = Request::new(()).into_parts();
        let origin = Origin::of(&parts.headers, downstream.peer, &front.trusted);
        let mut exchange = Exchange::begin(now, front.place, origin.client, &Method::CONNECT);
        exchange.uri = Uri::from_static("*");
        let mut recorder = Recorder::new(Arc::clone(lane), exchange, in_flight, None);
        recorder.refused(&rejection);
        let progress = Progress::begin(now, origin);
        let setting = progress.setting(&serving, &parts, recorder.exchange.id());
        let response = reject::respond(&rejection, &setting);
        recorder.answered(&response, &parts.headers);
        if recorder.keeps() {
            recorder.keep(Some(&rejection), &setting);
        }
        recorder.finish(response, None, front.send_max)
    }
}
