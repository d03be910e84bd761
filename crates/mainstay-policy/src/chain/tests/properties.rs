//! Invariants over random chains and random outcomes.

use proptest::prelude::*;

use super::*;
use crate::budget::{HedgeAfter, HedgeBudget, HedgeSettings};

/// What becomes of one attempt, or of one question to a local step.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It fails, after this share of its limit in hundredths.
    Fails(Class, SentState, u32),
    /// The breaker gave its last permit to someone else.
    Refused,
    /// It answers, without confidence; the flag says that the answer is kept.
    Unsure(bool),
    /// It is late and hedged, and both fail like this; the flag says that the first is cut off.
    Late(Class, SentState, bool),
}

/// How a member begins: its verdict, and whether its breaker is forced open.
type Begin = (Verdict, bool);

/// One step of a chain.
#[derive(Clone, Debug)]
enum Kind {
    Pool(Vec<Begin>),
    Local(bool),
}

/// A request and all that will happen to it.
#[derive(Clone, Debug)]
struct Case {
    kinds: Vec<Kind>,
    attempts: u8,
    repeatable: bool,
    locals: bool,
    retries: u32,
    deadline: u64,
    /// One after the other, again from the first when all are used up.
    fates: Vec<Fate>,
    last_resort: LastResort,
    seed: u64,
}

impl Case {
    fn plan(&self) -> Plan {
        let step = |kind: &Kind| match kind {
            Kind::Pool(begins) => hedged(pool_of(begins.iter().map(begin).collect())),
            Kind::Local(available) => local(*available),
        };
        let steps = self.kinds.iter().map(step).collect();
        let plan = Plan::new(steps, self.attempts, self.repeatable, DEADLINE);
        plan.with_last_resort(self.last_resort)
    }

    /// The local step that must answer at last, if all before it fail.
    fn last_local(&self) -> Option<usize> {
        let answers = |kind: &Kind| self.locals && matches!(kind, Kind::Local(true));
        self.kinds.iter().rposition(answers)
    }
}

/// The pool, of which every request may be hedged.
fn hedged(step: Step) -> Step {
    let Step::Pool(mut pool) = step else { panic!("a pool") };
    let settings = HedgeSettings { share: Ratio::ONE, after: HedgeAfter::Fixed(ms(1)) };
    pool.hedges = Some(Arc::new(HedgeBudget::new(settings, 1)));
    Step::Pool(pool)
}

fn begin((verdict, open): &Begin) -> Member {
    let member = member(*verdict);
    if *open {
        member.target.breaker.force(Some((Forced::Open, NEVER)), START);
    }
    member
}

fn fates() -> impl Strategy<Value = Fate> {
    let moving: Vec<_> = Class::ALL.into_iter().filter(|class| class.moves_on()).collect();
    let sent = [SentState::NotSent, SentState::MaybeSent, SentState::Sent].to_vec();
    let late = moving.clone();
    let fails = (prop::sample::select(moving), prop::sample::select(sent.clone()), 0u32..=100)
        .prop_map(|(class, sent, share)| Fate::Fails(class, sent, share));
    let late = (prop::sample::select(late), prop::sample::select(sent), any::<bool>())
        .prop_map(|(class, sent, cut)| Fate::Late(class, sent, cut));
    prop_oneof![
        8 => fails,
        4 => late,
        2 => Just(Fate::Refused),
        1 => any::<bool>().prop_map(Fate::Unsure),
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    let verdict = prop_oneof![
        2 => Just(Verdict::Ready),
        1 => prop::sample::select(Verdict::ALL.to_vec()),
    ];
    let begin = (verdict, prop::bool::weighted(0.2));
    prop_oneof![
        3 => prop::collection::vec(begin, 1..20).prop_map(Kind::Pool),
        1 => any::<bool>().prop_map(Kind::Local),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let request = (1u8..6, any::<bool>(), any::<bool>(), 0u32..4, 0u64..2_000);
    // Fail fast keeps from a client what a later step could have answered, as it is meant to.
    let last_resort = prop_oneof![
        Just(LastResort::NextStep),
        Just(LastResort::Panic),
        (0u64..40).prop_map(|most| LastResort::Wait(ms(most))),
    ];
    let fates = prop::collection::vec(fates(), 1..20);
    let world = (prop::collection::vec(kinds(), 0..5), fates, last_resort, any::<u64>());
    (request, world).prop_map(|(request, (kinds, fates, last_resort, seed))| {
        let (attempts, repeatable, locals, retries, deadline) = request;
        Case { kinds, attempts, repeatable, locals, retries, deadline, fates, last_resort, seed }
    })
}

/// What happened on one climb.
#[derive(Default)]
struct Story {
    sent: u8,
    total: u8,
    retried: u32,
    /// Members tried in the present step of the present pass.
    tried: Vec<usize>,
    at: Option<(usize, bool)>,
    asked: Vec<usize>,
    has_answer: bool,
    /// A failure that may not be repeated.
    closed: bool,
}

impl Story {
    /// Checks a choice against all that happened before it.
    fn choice(&mut self, case: &Case, plan: &Plan, bench: &Bench, choice: &Choice) {
        let last = choice.why == Why::LastResort || self.at.is_some_and(|(_, last)| last);
        let begins = self.at.is_some_and(|(step, _)| choice.step < step);
        let at = (choice.step, last || begins);
        if self.at != Some(at) {
            self.tried.clear();
        }
        self.at = Some(at);
        assert!(!self.closed, "what may not be repeated was repeated");
        assert!(!self.tried.contains(&choice.member), "member {} again", choice.member);
        let target = target(plan, choice.step, choice.member);
        let panic = choice.why == Why::Panic;
        assert!(!panic || case.last_resort == LastResort::Panic);
        assert!(panic || target.breaker.would_admit(bench.now).is_ok());
        let ruled_out = !target.health.verdict().takes_traffic();
        assert!(at.1 || panic || !ruled_out, "a verdict was ignored before the last resort");
        assert!(!at.1 || !self.has_answer, "a last resort in spite of an answer");
        assert!(choice.delay.is_zero() || at.1);
        assert!(!choice.limit.is_zero());
        let end = bench.now + choice.delay + choice.limit;
        let deadline = START + ms(case.deadline);
        let whole = ms(case.deadline);
        let reserve = if at.1 { Duration::ZERO } else { plan.reserve(choice.step, whole) };
        assert!(end + reserve <= deadline, "{choice:?} leaves no {reserve:?}");
        self.tried.push(choice.member);
    }

    fn failed(&mut self, case: &Case, class: Class, sent: SentState) {
        self.total += 1;
        if sent != SentState::NotSent {
            self.sent += 1;
            let declined = matches!(class, Class::NotReady | Class::Capacity);
            self.closed |= !case.repeatable && !declined;
        }
    }
}

/// Climbs to the end; the story of it.
fn run(case: &Case, plan: &Plan) -> Story {
    let mut bench = Bench::with_retries(case.retries);
    bench.rng = fastrand::Rng::with_seed(case.seed);
    let mut climb = Climb::new(plan, START + ms(case.deadline), case.locals);
    let mut story = Story::default();
    // Each pass over five pools can be refused six times in each.
    for fate in case.fates.iter().cycle().take(300) {
        match bench.next(&mut climb) {
            Next::Exhausted => return story,
            // Nobody fills a server here.
            Next::Wait => unreachable!(),
            Next::Await(pause) => {
                assert!(!pause.is_zero() && matches!(case.last_resort, LastResort::Wait(_)));
                bench.now = bench.now + pause;
            }
            Next::Local(step) => {
                assert!(case.locals && matches!(case.kinds[step], Kind::Local(true)));
                assert!(!story.asked.contains(&step), "step {step} again");
                story.asked.push(step);
                climb.leave(Reason::EmbeddedUnavailable);
            }
            Next::Attempt(choice) => {
                story.choice(case, plan, &bench, &choice);
                meet(case, &mut bench, &mut climb, &mut story, (&choice, *fate));
            }
        }
        story.retried = retried(&bench);
    }
    panic!("no end");
}

fn meet(
    case: &Case,
    bench: &mut Bench,
    climb: &mut Climb<'_>,
    story: &mut Story,
    (choice, fate): (&Choice, Fate),
) {
    match fate {
        Fate::Refused => climb.refused(choice),
        Fate::Unsure(kept) => {
            climb.leave(Reason::LowConfidence);
            if kept {
                climb.has_answer();
                story.has_answer = true;
            }
        }
        Fate::Late(class, sent, cut) => late(case, bench, climb, story, (choice, class, sent, cut)),
        Fate::Fails(class, sent, share) => {
            climb.failed(choice, class, sent);
            story.failed(case, class, sent);
            bench.now = bench.now + choice.delay + choice.limit * share / 100;
        }
    }
}

/// The attempt is late; if it may be hedged, what is asked of a hedge is checked.
fn late(
    case: &Case,
    bench: &mut Bench,
    climb: &mut Climb<'_>,
    story: &mut Story,
    (first, class, sent, cut): (&Choice, Class, SentState, bool),
) {
    if let Some(after) = first.hedge_after {
        assert!(case.repeatable && after < first.limit);
        bench.now = bench.now + first.delay + after;
        if let Some(second) = bench.hedge(climb, first) {
            assert!(second.member != first.member && second.step == first.step);
            assert!(!story.tried.contains(&second.member), "member {} again", second.member);
            assert!(bench.now + second.limit <= START + ms(case.deadline));
            story.tried.push(second.member);
            climb.failed(&second, class, sent);
            story.failed(case, class, sent);
        }
    }
    if cut && first.hedge_after.is_some() {
        climb.overtaken(first, SentState::MaybeSent);
        story.failed(case, Class::Overtaken, SentState::MaybeSent);
    } else {
        climb.failed(first, class, sent);
        story.failed(case, class, sent);
    }
}

/// Retries drawn so far; there is one request at most, and the window outlasts no test.
fn retried(bench: &Bench) -> u32 {
    bench.retries.retries(START)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_climb_ends_within_its_bounds(case in cases()) {
        let plan = case.plan();
        let story = run(&case, &plan);
        prop_assert!(story.sent <= case.attempts, "{} sent", story.sent);
        prop_assert!(story.total <= MAX_ATTEMPTS, "{} in all", story.total);
        prop_assert!(story.retried <= case.retries.min(u32::from(story.sent)));
    }

    #[test]
    fn a_local_step_that_can_answer_is_always_reached(case in cases()) {
        let plan = case.plan();
        let story = run(&case, &plan);
        let available = |(at, kind): (usize, &Kind)| {
            (case.locals && matches!(kind, Kind::Local(true))).then_some(at)
        };
        let expected: Vec<_> = case.kinds.iter().enumerate().filter_map(available).collect();
        prop_assert_eq!(story.asked.last().copied(), case.last_local());
        prop_assert_eq!(story.asked, expected);
    }
}
