//! Warm and cold standbys: made ready before their first request of a client, and let go again.
//!
//! | step | warm | cold |
//! |---|---|---|
//! | 1 | its models are loaded | its process is started |
//! | 2 | it is asked until it says that it is ready | the same |
//! | 3 | it answers the pool's golden requests rightly, where there are any | the same |
//!
//! All three together have a time limit; whatever fails is tried again after a pause. Meanwhile
//! nobody waits for it: the next step of the chain answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_config::{Call, Check, EndpointUrl, Warm};
use mainstay_control::group::{Prepared, Standby};
use mainstay_policy::health;
use mainstay_policy::target::Target;
use mainstay_probe::{GoldenProbe, ModelName, Probe};
use tokio::task::JoinHandle;

use super::member::Member;
use super::{Groups, Pool};

/// The pause after the first failure, doubled with each.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Between two questions whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The longest that one such question may take.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Requests under way may take so long before a model is unloaded.
const IN_FLIGHT: Duration = Duration::from_secs(30);
/// Of a standby that has its models, and not from this gateway.
const FOUND: &str = "found loaded";
/// The longest that unloading one model may take.
const UNLOAD: Duration = Duration::from_secs(10);

/// All that is needed to make a member ready.
struct Work {
    pool: Arc<str>,
    endpoint: Arc<str>,
    url: EndpointUrl,
    standby: Standby,
    models: Vec<(Option<ModelName>, Option<GoldenProbe>)>,
    targets: Vec<Arc<Target>>,
    check: Check,
    warm: Warm,
    /// Whether it was found loaded, and is only to be asked whether it answers rightly.
    found: bool,
    /// Tells it from those before and after it.
    number: u64,
    groups: Arc<Groups>,
}

impl Groups {
    pub(super) fn prepare(self: &Arc<Self>, pool: &mut Pool, at: usize, cause: &str) {
        let work = Work::of(self, pool, at);
        let member = &mut pool.members[at];
        let before = member.begin(&work);
        (member.prepared, member.stage) = (Prepared::Underway, work.verb().to_owned());
        self.tell(
            &pool.name,
            &member.name,
            (member.standby.as_str(), work.verb()),
            cause.to_owned(),
        );
        let cause = cause.to_owned();
        member.task = Some(tokio::spawn(async move {
            over(before).await;
            work.run(cause).await;
        }));
    }

    /// A warm standby that nobody here has loaded, and that has all its models: as after a restart
    /// of the gateway. It is asked whether it answers rightly, and then as good as loaded.
    pub(super) fn find_loaded(self: &Arc<Self>, pool: &mut Pool) {
        for at in 0..pool.members.len() {
            if !pool.members[at].is_found_loaded() {
                continue;
            }
            let work = Work { found: true, ..Work::of(self, pool, at) };
            let member = &mut pool.members[at];
            let _none = member.begin(&work);
            (member.prepared, member.stage) = (Prepared::Underway, FOUND.to_owned());
            member.task = Some(tokio::spawn(work.run(FOUND.to_owned())));
        }
    }

    pub(super) fn release(self: &Arc<Self>, pool: &mut Pool, at: usize, cause: &str) {
        let work = Work::of(self, pool, at);
        let member = &mut pool.members[at];
        let before = member.begin(&work);
        (member.prepared, member.stage) = (Prepared::No, String::new());
        let words = if member.standby == Standby::Cold { "stopping" } else { "unloading" };
        self.tell(&pool.name, &member.name, ("ready", words), cause.to_owned());
        let cause = cause.to_owned();
        member.task = Some(tokio::spawn(async move {
            over(before).await;
            work.let_go(cause).await;
        }));
    }

    /// How far it is; at its end with how long it took, which is what a forecast goes by. Nothing
    /// once something else was begun: whoever was released meanwhile is not ready, whatever its
    /// preparation came to.
    fn report(
        self: &Arc<Self>,
        work: &Work,
        (prepared, took): (Prepared, Option<Duration>),
        stage: String,
    ) {
        if let Some(pool) = self.lock().iter_mut().find(|pool| pool.name == work.pool)
            && let Some(member) = pool.members.iter_mut().find(|m| m.work == work.number)
        {
            (member.prepared, member.stage) = (prepared, stage);
            member.took = took.or(member.took);
        }
        self.look();
    }
}

impl Member {
    /// This counts from now on. Gives what was under way, which is told to stop.
    fn begin(&mut self, work: &Work) -> Option<JoinHandle<()>> {
        self.work = work.number;
        let before = self.task.take();
        before.iter().for_each(JoinHandle::abort);
        before
    }
}

/// Whether this check says of each of these models whether it is loaded.
pub(super) fn asks_for_models(
    check: &Check,
    models: &[(Option<ModelName>, Option<GoldenProbe>)],
) -> bool {
    matches!(check, Check::OipReady) && models.iter().all(|(model, _)| model.is_some())
}

/// What was told to stop has stopped: no call of it is made after those that come now.
async fn over(before: Option<JoinHandle<()>>) {
    if let Some(before) = before {
        // Stopped or done, which is all the same.
        let _over = before.await;
    }
}

impl Work {
    fn of(groups: &Arc<Groups>, pool: &Pool, at: usize) -> Self {
        let member = &pool.members[at];
        Self {
            pool: Arc::clone(&pool.name),
            endpoint: Arc::clone(&member.name),
            url: member.url.clone(),
            standby: member.standby,
            models: member.models.clone(),
            targets: member.targets.clone(),
            check: member.check.clone(),
            warm: member.warm.clone(),
            found: false,
            number: groups.works.fetch_add(1, Ordering::Relaxed) + 1,
            groups: Arc::clone(groups),
        }
    }

    const fn verb(&self) -> &'static str {
        match self.standby {
            Standby::Hot | Standby::Warm if self.found => "asking",
            Standby::Cold => "starting",
            Standby::Hot | Standby::Warm => "loading",
        }
    }

    /// Tries until it is ready.
    async fn run(self, cause: String) {
        let mut pause = PAUSE;
        let began = self.groups.shared.clock.now();
        let found = loop {
            let limit = self.warm.timeout;
            let tried = tokio::time::timeout(limit, self.once(&cause)).await;
            match tried.unwrap_or_else(|_| Err(format!("not ready within {limit:?}"))) {
                Ok(found) => break found,
                Err(_) if self.found => {
                    self.groups.report(&self, (Prepared::No, None), String::new());
                    return;
                }
                Err(why) => {
                    let again = format!("{why}; again in {:.1} s", pause.as_secs_f64());
                    self.tell(self.verb(), "failed", &again);
                    self.groups.report(&self, (Prepared::Failing, None), again);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        let took = self.groups.shared.clock.now().since(began);
        let (cause, took) = if found {
            (format!("it was {FOUND}"), None)
        } else {
            (format!("made ready in {:.2} s", took.as_secs_f64()), Some(took))
        };
        self.tell(self.verb(), "ready", &cause);
        self.groups.report(&self, (Prepared::Yes, took), cause);
    }

    /// Whether it was found loaded.
    async fn once(&self, cause: &str) -> Result<bool, String> {
        let found = match self.standby {
            Standby::Cold => {
                self.start(cause)?;
                false
            }
            Standby::Hot | Standby::Warm if self.found || self.is_loaded().await => true,
            Standby::Hot | Standby::Warm => {
                self.each(&self.warm.load, self.warm.timeout).await?;
                false
            }
        };
        for (model, golden) in &self.models {
            self.wait_until_ready(model.as_ref()).await;
            if let Some(golden) = golden {
                self.wait_until_right(model.as_ref(), golden).await?;
            }
        }
        Ok(found)
    }

    /// Whether all its models are ready as it is. Only a check that asks for each model can tell.
    async fn is_loaded(&self) -> bool {
        if !asks_for_models(&self.check, &self.models) {
            return false;
        }
        for (model, _) in &self.models {
            if mainstay_probe::probe(&self.probe(model.as_ref())).await.check
                != health::Check::Passed
            {
                return false;
            }
        }
        true
    }

    fn probe(&self, model: Option<&ModelName>) -> Probe {
        Probe {
            address: Some(self.url.clone()),
            model: model.cloned(),
            check: self.check.clone(),
            timeout: ASK_LIMIT,
        }
    }

    fn start(&self, cause: &str) -> Result<(), String> {
        let started = self.groups.processes.start(&self.pool, &self.endpoint, cause);
        started.map_err(|error| error.to_string())
    }

    fn stop(&self, cause: &str) -> Result<(), String> {
        let stopped = self.groups.processes.stop(&self.pool, &self.endpoint, cause);
        stopped.map_err(|error| error.to_string())
    }

    /// Makes a call for every model that has a name.
    async fn each(&self, call: &Call, limit: Duration) -> Result<(), String> {
        for (model, _) in &self.models {
            let Some(model) = model else { continue };
            let made = mainstay_probe::call(&self.url, call, &model.name, limit).await;
            made.map_err(|why| format!("{} {}: {why}", call.method, model.name))?;
        }
        Ok(())
    }

    async fn wait_until_ready(&self, model: Option<&ModelName>) {
        let probe = self.probe(model);
        while mainstay_probe::probe(&probe).await.check != health::Check::Passed {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Golden requests warm it up as well; only a wrong answer is an error.
    async fn wait_until_right(
        &self,
        model: Option<&ModelName>,
        golden: &GoldenProbe,
    ) -> Result<(), String> {
        loop {
            let found = mainstay_probe::ask_golden(&self.url, model, golden).await;
            match found.check {
                health::Check::Passed => return Ok(()),
                health::Check::Wrong => return Err(found.detail),
                _ => tokio::time::sleep(ASK_EVERY).await,
            }
        }
    }

    /// Unloads or stops it, once what is under way there is done.
    async fn let_go(self, cause: String) {
        let idle = async {
            // A request that chose it in the last moment is seen by then.
            tokio::time::sleep(ASK_EVERY).await;
            while self.targets.iter().any(|target| target.load.in_flight() > 0) {
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        let busy = tokio::time::timeout(IN_FLIGHT, idle).await.is_err();
        let done = match (self.standby, &self.warm.unload) {
            (Standby::Cold, _) => self.stop(&cause),
            (_, Some(unload)) => self.each(unload, UNLOAD).await,
            (_, None) => return,
        };
        let late = if busy { ", with requests under way" } else { "" };
        match done {
            Ok(()) => self.tell("ready", self.standby.as_str(), &format!("{cause}{late}")),
            Err(why) => self.tell("ready", "failed", &why),
        }
    }

    fn tell(&self, from: &str, to: &str, cause: &str) {
        self.groups.tell(&self.pool, &self.endpoint, (from, to), cause.to_owned());
    }
}
