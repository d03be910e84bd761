//! A small thread pool for embedded models.
//!
//! A model computes without pause, so it would stall every connection of the core it ran on. Here
//! it has threads of its own behind a bounded queue: when the queue is full the caller is told at
//! once, and can go to the next step of its chain while there is time.
//!
//! A caller that gives up (its deadline passed, its client went away) just drops the future: a
//! call that still waits is skipped, and the result of one that runs is thrown away. A model that
//! panics costs its call and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mainstay_protocol::tensor::Tensor;
use tokio::sync::oneshot;

use crate::{Error, Model};

type Outcome = Result<Vec<Tensor>, Error>;

/// One call on its way to a thread.
struct Job {
    work: Box<dyn FnOnce() -> Outcome + Send>,
    reply: oneshot::Sender<Outcome>,
}

/// Runs models on its own threads. Dropping it lets the threads end after their current call.
#[derive(Debug)]
pub struct Executor {
    jobs: SyncSender<Job>,
    queue: usize,
}

impl Executor {
    /// Starts `threads` threads (at least one) with room for `queue` waiting calls.
    ///
    /// # Panics
    /// If the system gives no thread, as [`thread::spawn`] does.
    #[must_use]
    pub fn new(threads: usize, queue: usize) -> Self {
        let (jobs, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads.max(1) {
            start(index, Arc::clone(&receiver));
        }
        Self { jobs, queue }
    }

    /// Runs `model` on `inputs` on one of the threads.
    ///
    /// # Errors
    /// Those of [`Model::run`], [`Error::QueueFull`] without waiting, [`Error::Panicked`].
    pub async fn run(&self, model: Arc<Model>, inputs: Vec<Tensor>) -> Outcome {
        self.submit(Box::new(move || model.run(&inputs))).await
    }

    async fn submit(&self, work: Box<dyn FnOnce() -> Outcome + Send>) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.jobs.try_send(Job { work, reply }).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::QueueFull(self.queue),
            TrySendError::Disconnected(_) => lost(),
        })?;
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }
}

fn lost() -> Error {
    Error::Panicked("the thread that ran it has ended".to_owned())
}

#[expect(clippy::expect_used, reason = "without threads the process cannot work, as in std")]
fn start(index: usize, jobs: Arc<Mutex<Receiver<Job>>>) {
    thread::Builder::new()
        .name(format!("onnx-{index}"))
        .spawn(move || {
            while let Some(job) = next(&jobs) {
                perform(job)
            }
        })
        .expect("the system gives a thread for embedded models");
}

/// The next call, or `None` when the executor is gone. One thread waits in the channel, the
/// others wait for the lock.
fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn perform(job: Job) {
    if job.reply.is_closed() {
        return;
    }
    let outcome = catch_unwind(AssertUnwindSafe(job.work))
        .unwrap_or_else(|panic| Err(Error::Panicked(message(&*panic))));
    // The caller may have given up meanwhile: then nobody wants the result.
    drop(job.reply.send(outcome));
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Waker};

    use super::*;

    fn poll_once(future: &mut std::pin::Pin<&mut impl Future<Output = Outcome>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_lives_on() {
        let executor = Executor::new(1, 4);
        let panicked = executor.submit(Box::new(|| panic!("boom"))).await;
        assert!(matches!(panicked, Err(Error::Panicked(why)) if why == "boom"));
        assert!(executor.submit(Box::new(|| Ok(vec![]))).await.is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let executor = Executor::new(1, 1);
        let gate = Arc::new(Barrier::new(2));
        let (started, inside) = sync_channel(1);
        let held = Arc::clone(&gate);
        let mut running = pin!(executor.submit(Box::new(move || {
            started.send(()).unwrap();
            held.wait();
            Ok(vec![])
        })));
        assert!(!poll_once(&mut running));
        inside.recv().unwrap();
        let mut waiting = pin!(executor.submit(Box::new(|| Ok(vec![]))));
        assert!(!poll_once(&mut waiting));
        let refused = executor.submit(Box::new(|| Ok(vec![]))).await;
        assert!(matches!(refused, Err(Error::QueueFull(1))));
        gate.wait();
        assert!(running.await.is_ok());
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn a_call_nobody_waits_for_is_skipped() {
        let executor = Executor::new(1, 2);
        let gate = Arc::new(Barrier::new(2));
        let held = Arc::clone(&gate);
        let mut running = pin!(executor.submit(Box::new(move || {
            held.wait();
            Ok(vec![])
        })));
        assert!(!poll_once(&mut running));
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        {
            let mut given_up = pin!(executor.submit(Box::new(move || {
                flag.store(true, Ordering::SeqCst);
                Ok(vec![])
            })));
            assert!(!poll_once(&mut given_up));
        }
        gate.wait();
        assert!(running.await.is_ok());
        // The queue is first in, first out: when this one is done the other had its turn.
        assert!(executor.submit(Box::new(|| Ok(vec![]))).await.is_ok());
        assert!(!ran.load(Ordering::SeqCst));
    }
}
