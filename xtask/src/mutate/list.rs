//! How the scheduler is broken in the short run: the rules that a swarm lives by, each once.

use super::Mutation;

/// The unit tests of the parts, and those of one peer among scripted neighbours.
const PARTS: &str = "--lib";
const OVERLAY: &str = "--test overlay";
const SESSION: &str = "--test session";

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        what: "a hole that nobody knows of begins with what comes after it",
        file: "peer/playback.rs",
        from: "begins.start_us.saturating_sub(track.delivered_us)",
        to: "0",
        noticed_by: (OVERLAY, "playback::who_comes_back_from_an_outage_goes_on_with_the_first_that_comes"),
    },
    Mutation {
        what: "a viewer refuses nobody",
        file: "peer/admission.rs",
        from: "is_wanted && self.n_free() > 0",
        to: "is_wanted",
        noticed_by: (OVERLAY, "as_many_are_fed_as_the_uplink_bears_and_the_next_is_refused_at_once"),
    },
    Mutation {
        what: "who is above us is taken below us",
        file: "peer/admission.rs",
        from: "self.own_path(stripe).filter(|path| !path.contains(&from))",
        to: "self.own_path(stripe)",
        noticed_by: (OVERLAY, "who_feeds_us_is_not_fed_by_us_in_the_same_stripe"),
    },
    Mutation {
        what: "a path through ourselves is taken",
        file: "peer/providers.rs",
        from: "path.contains(&own) || path.len() >= PATH_LIMIT",
        to: "false",
        noticed_by: (OVERLAY, "a_path_that_leads_through_ourselves_is_not_taken"),
    },
    Mutation {
        what: "children are not told of a circle",
        file: "peer/children.rs",
        from: "path.clone().filter(|path| !path.contains(&child))",
        to: "path.clone()",
        noticed_by: (OVERLAY, "a_child_is_let_go_when_it_turns_up_above_us"),
    },
    Mutation {
        what: "nothing is forwarded",
        file: "uploads.rs",
        from: "takers.map(|(peer, child)| (peer, child.class())).collect()",
        to: "Vec::new()",
        noticed_by: (OVERLAY, "a_block_goes_once_to_each_child_of_its_stripe_and_to_nobody_else"),
    },
    Mutation {
        what: "descriptors come with any stripe",
        file: "uploads.rs",
        from: "peer.home_stripe() == stripe && child.tracks.contains(track)",
        to: "child.tracks.contains(track)",
        noticed_by: (
            OVERLAY,
            "who_is_at_home_in_a_stripe_gets_descriptors_with_it_and_a_leaf_has_them_from_elsewhere",
        ),
    },
    Mutation {
        what: "who feeds others comes after the leaves",
        file: "uploads.rs",
        from: "Class::Forward",
        to: "Class::Push",
        noticed_by: (OVERLAY, "who_feeds_others_gets_a_block_before_who_does_not"),
    },
    Mutation {
        what: "nothing is pulled",
        file: "peer/repair.rs",
        from: "self.wants(now)",
        to: "Vec::<Want>::new()",
        noticed_by: (OVERLAY, "what_nobody_pushes_is_pulled_from_a_neighbour_that_has_it_before_it_plays"),
    },
    Mutation {
        what: "a hole is not noticed",
        file: "peer/repair.rs",
        from: "provider.pushed_to.get(track).is_some_and(|to| number.0 < *to)",
        to: "false",
        noticed_by: (OVERLAY, "what_its_provider_went_on_without_is_asked_of_it"),
    },
    Mutation {
        what: "a pull that nobody answers is asked for no more",
        file: "peer/repair.rs",
        from: "expires_at <= now",
        to: "false",
        noticed_by: (OVERLAY, "who_does_not_answer_a_pull_is_not_the_only_one_that_is_asked"),
    },
    Mutation {
        what: "who refused is asked again at once",
        file: "peer/providers.rs",
        from: "lane.refuse(from, until)",
        to: "()",
        noticed_by: (OVERLAY, "who_refused_is_not_asked_again_for_a_second"),
    },
    Mutation {
        what: "the old provider is not told that another one pushes",
        file: "peer/providers.rs",
        from: "lane.promote(now)",
        to: "{ lane.promote(now); None }",
        noticed_by: (OVERLAY, "who_lets_us_go_pushes_until_another_one_does"),
    },
    Mutation {
        what: "free riders keep their places",
        file: "peer/admission.rs",
        from: "feeds && can_feed_it",
        to: "false",
        noticed_by: (OVERLAY, "a_free_rider_gives_way_to_who_contributes_and_is_pushed_to_meanwhile"),
    },
    Mutation {
        what: "media does not count against the budget",
        file: "pacer.rs",
        from: "hard.take(len, now)",
        to: "()",
        noticed_by: (OVERLAY, "server::no_second_of_a_servers_egress_exceeds_its_budget_however_many_ask"),
    },
    Mutation {
        what: "the dead keep their places at the server",
        file: "peer/liveness.rs",
        from: "self.lose(peer, now)",
        to: "()",
        noticed_by: (OVERLAY, "server::the_place_of_a_viewer_that_does_not_answer_goes_to_another"),
    },
    Mutation {
        what: "a slot is promised twice",
        file: "directory.rs",
        from: "self.promise(chosen, now)",
        to: "()",
        noticed_by: (PARTS, "directory::tests::a_promised_slot_is_free_again_when_nobody_came"),
    },
    Mutation {
        what: "a silent provider is kept",
        file: "neighbours.rs",
        from: "was_asked && now.since(self.heard_at) > patience",
        to: "false",
        noticed_by: (
            SESSION,
            "a_neighbour_that_the_tracker_lost_and_that_does_not_answer_is_replaced_at_once",
        ),
    },
    Mutation {
        what: "who sent wrong media may come back",
        file: "neighbours.rs",
        from: "remember(&mut self.banned, peer, now)",
        to: "()",
        noticed_by: (SESSION, "a_polluter_is_dropped_and_nothing_wrong_is_appended"),
    },
    Mutation {
        what: "media is asked for over the relay",
        file: "peer/routes.rs",
        from: "!self.has_server()",
        to: "true",
        noticed_by: (OVERLAY, "relayed::a_relayed_neighbour_is_asked_for_nothing_while_there_is_the_server"),
    },
    Mutation {
        what: "who is reached by the relay alone offers slots",
        file: "peer/children.rs",
        from: "self.is_behind_the_relay()",
        to: "false",
        noticed_by: (OVERLAY, "relayed::who_is_reached_by_the_relay_alone_has_room_for_nobody"),
    },
    Mutation {
        what: "a server without its source keeps whom it feeds",
        file: "peer/children.rs",
        from: "(!self.is_cut_off).then(Vec::new)",
        to: "Some(Vec::new())",
        noticed_by: (OVERLAY, "server::a_server_without_its_source_sends_viewers_away_until_it_has_it_again"),
    },
    Mutation {
        what: "any number of links is relayed",
        file: "neighbours/routes.rs",
        from: "route == Route::Direct || n_relayed <= RELAYED_LIMIT",
        to: "true",
        noticed_by: (OVERLAY, "relayed::relayed_links_are_few"),
    },
    Mutation {
        what: "a late playhead stays late",
        file: "playhead.rs",
        from: "rate_for(error)",
        to: "1.0",
        noticed_by: (PARTS, "playhead::tests::a_small_error_is_mended_by_rate_and_a_large_one_by_a_jump"),
    },
];
