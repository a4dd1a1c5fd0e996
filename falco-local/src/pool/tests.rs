use falco_core::{ActivationId, Payload, Scaling};
use falco_workers::{Logs, Reply, WorkerLimits};
use tokio::sync::oneshot;

use super::*;
use crate::config::LocalConfig;
use crate::guardian::Guardian;
use crate::interpreter::Interpreter;
use crate::scratch::Scratch;

/// The work of a worker that takes no job until the pool is closed.
fn wait_for_close(pool: Arc<Pool>, _: u64, _: bool) {
    let mut state = pool.lock();
    while state.phase != Phase::Closed {
        state = pool.wake.wait(state).unwrap();
    }
}

fn pool_of(max_workers: u32) -> Arc<Pool> {
    let function = Function {
        name: "f".into(),
        version: "1".into(),
        interpreter: Interpreter::Native,
        directory: "/no/such/directory".into(),
        entry_point: None,
        env: Default::default(),
    };
    let shared = Shared {
        config: LocalConfig::builder().directory("/no/such/directory").build().unwrap(),
        guardian: Guardian::default(),
        scratch: Scratch::new(None),
        logs: Logs::new(0),
        host: None,
    };
    let limits = WorkerLimits::default().with_max_workers(max_workers).pool(&Scaling::default());
    Pool::new(function, Arc::new(shared), limits, wait_for_close)
}

fn jobs(count: usize) -> VecDeque<Job> {
    let invocation = Invocation::new("run", "stage", "1", Payload::empty());
    let job = || {
        let (caller, _) = oneshot::channel();
        Job::new(ActivationId::new("a"), &invocation, Reply::Caller(caller))
    };
    std::iter::repeat_with(job).take(count).collect()
}

#[test]
fn jobs_that_are_given_back_start_a_worker_each_as_far_as_there_is_room() {
    let pool = pool_of(4);
    pool.give_back_ahead(jobs(3));
    assert_eq!(pool.lock().workers.len(), 3);
    pool.give_back_ahead(jobs(32));
    assert_eq!(pool.lock().workers.len(), 4);
    workers::Pool::close(&*pool);
}
