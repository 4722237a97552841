//! What happens when a GPU is gone, or is given a plan that it does not take: somebody else takes over.

use std::sync::Arc;

use tutu_llm::{
    backend::{Backend, Batch, Fault, Timing},
    plan::Plan,
    sample::Candidate,
    weights::Weights,
};

/// Why another backend takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The device is gone.
    Lost,
    /// The plan changed while it ran, and the device does not take the new one.
    Replanned,
}

/// Makes the backend that takes over: of the same plan, with as many pages and tokens.
pub type Make = Box<dyn Fn(Why) -> Option<Box<dyn Backend + Send>> + Send>;

/// A backend on a device that may be lost, and another for when it is.
pub struct Spared {
    now: Box<dyn Backend + Send>,
    spare: Option<Make>,
    /// What was planned last, for whoever takes over.
    planned: Option<(Arc<Weights>, Arc<Plan>)>,
    /// Another has taken over and nobody was told yet that its cache is empty.
    is_news: bool,
}

impl Spared {
    /// Runs on `now`, and where that is lost on what `spare` makes.
    pub fn new(now: Box<dyn Backend + Send>, spare: Make) -> Self {
        Self { now, spare: Some(spare), planned: None, is_news: false }
    }

    /// What takes over, if there is something of the same size.
    fn next(&self, why: Why) -> Option<Box<dyn Backend + Send>> {
        let mut next = self.spare.as_ref().and_then(|make| make(why))?;
        if let Some((weights, plan)) = &self.planned {
            next.replan(Arc::clone(weights), Arc::clone(plan)).ok()?;
        }
        ((next.pages(), next.tokens_max()) == (self.now.pages(), self.now.tokens_max())).then_some(next)
    }

    /// Lets `work` be done, unless somebody must hear first that the cache is empty; takes over where the device is lost.
    fn run(&mut self, work: impl FnOnce(&mut dyn Backend) -> Result<(), Fault>) -> Result<(), Fault> {
        if std::mem::take(&mut self.is_news) {
            return Err(Fault::Moved);
        }
        match work(&mut *self.now) {
            Err(Fault::Lost) => {
                let next = self.next(Why::Lost);
                self.spare = None;
                self.now = next.ok_or(Fault::Lost)?;
                Err(Fault::Moved)
            }
            other => other,
        }
    }
}

impl Backend for Spared {
    fn tokens_max(&self) -> usize {
        self.now.tokens_max()
    }

    fn pages(&self) -> usize {
        self.now.pages()
    }

    fn step(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.run(|now| now.step(batch, out))
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        self.run(|now| now.step_best(batch, most, out))
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        self.run(|now| now.states(batch, out))
    }

    fn replan(&mut self, weights: Arc<Weights>, plan: Arc<Plan>) -> Result<(), Fault> {
        let done = self.now.replan(Arc::clone(&weights), Arc::clone(&plan));
        if self.spare.is_none() {
            return done;
        }
        self.planned = Some((weights, plan));
        if done.is_err() {
            let next = self.next(Why::Replanned).ok_or(Fault::Lost)?;
            (self.now, self.spare, self.is_news) = (next, None, true);
        }
        Ok(())
    }

    fn profile(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<Timing>>, Fault> {
        self.now.profile(batch)
    }
}

#[cfg(test)]
mod tests {
    use tutu_llm::plan::Slot;

    use super::*;

    /// Answers a number; a new plan adds one to it, but for what is never planned anew.
    struct Answers(Result<(), Fault>, f32);

    impl Backend for Answers {
        fn tokens_max(&self) -> usize {
            1
        }
        fn pages(&self) -> usize {
            1
        }
        fn step(&mut self, _batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            *out = vec![self.1];
            self.0
        }
        fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
            self.step(batch, out)
        }
        fn replan(&mut self, _weights: Arc<Weights>, _plan: Arc<Plan>) -> Result<(), Fault> {
            if self.1 < 0.0 {
                return Err(Fault::Batch);
            }
            self.1 += 1.0;
            Ok(())
        }
    }

    #[test]
    fn another_takes_over_once() {
        let gone = || Box::new(Answers(Err(Fault::Lost), 0.0));
        let mut spared = Spared::new(gone(), Box::new(|_| Some(Box::new(Answers(Ok(()), 7.0)))));
        let batch = Batch::new(&[], &[]);
        let mut out = Vec::new();
        assert_eq!(spared.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[7.0][..]));
        let mut alone = Spared::new(gone(), Box::new(|_| None));
        assert_eq!(alone.step(&batch, &mut out), Err(Fault::Lost));
        let mut twice = Spared::new(gone(), Box::new(move |_| Some(gone())));
        assert_eq!(twice.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!(twice.step(&batch, &mut out), Err(Fault::Lost));
    }

    fn plan() -> (Arc<Weights>, Arc<Plan>) {
        let output = Slot { buffer: 0, column: 0, width: 0 };
        let none = Plan { buffers: vec![], ops: vec![], caches: vec![], output };
        (Arc::new(Weights::new()), Arc::new(none))
    }

    #[test]
    fn a_plan_that_is_not_taken_is_for_the_other_whose_cache_is_empty() {
        let make: Make = Box::new(|why| (why == Why::Replanned).then(|| Box::new(Answers(Ok(()), 7.0)) as _));
        let mut spared = Spared::new(Box::new(Answers(Ok(()), -1.0)), make);
        let (batch, mut out) = (Batch::new(&[], &[]), Vec::new());
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[-1.0][..]));
        let (weights, changed) = plan();
        assert_eq!(spared.replan(weights, changed), Ok(()));
        assert_eq!(spared.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[8.0][..]));
        // From now on it is the other that hears of plans, and keeps what is in its cache.
        let (weights, changed) = plan();
        assert_eq!(spared.replan(weights, changed), Ok(()));
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[9.0][..]));
    }

    #[test]
    fn a_plan_that_is_taken_moves_nobody_and_is_that_of_whoever_takes_over() {
        let make: Make = Box::new(|why| (why == Why::Lost).then(|| Box::new(Answers(Ok(()), 7.0)) as _));
        let mut spared = Spared::new(Box::new(Answers(Err(Fault::Lost), 0.0)), make);
        let (weights, changed) = plan();
        assert_eq!(spared.replan(weights, changed), Ok(()));
        let (batch, mut out) = (Batch::new(&[], &[]), Vec::new());
        assert_eq!(spared.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[8.0][..]));
    }

    #[test]
    fn other_faults_stay_what_they_are() {
        let mut spared = Spared::new(Box::new(Answers(Err(Fault::Batch), 0.0)), Box::new(|_| None));
        assert_eq!(spared.step(&Batch::new(&[], &[]), &mut Vec::new()), Err(Fault::Batch));
    }
}
