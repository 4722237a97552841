//! What happens when a GPU is gone: somebody else takes over.

use tutu_llm::{
    backend::{Backend, Batch, Fault, Timing},
    sample::Candidate,
};

/// Makes the backend that takes over: of the same plan, with as many pages and tokens.
pub type Make = Box<dyn FnOnce() -> Option<Box<dyn Backend + Send>> + Send>;

/// A backend on a device that may be lost, and another for when it is.
pub struct Spared {
    now: Box<dyn Backend + Send>,
    spare: Option<Make>,
}

impl Spared {
    /// Runs on `now`, and where that is lost on what `spare` makes.
    pub fn new(now: Box<dyn Backend + Send>, spare: Make) -> Self {
        Self { now, spare: Some(spare) }
    }

    /// Takes over, if it can.
    fn moved(&mut self, result: Result<(), Fault>) -> Result<(), Fault> {
        if result != Err(Fault::Lost) {
            return result;
        }
        let next = self.spare.take().and_then(|make| make()).ok_or(Fault::Lost)?;
        if (next.pages(), next.tokens_max()) != (self.now.pages(), self.now.tokens_max()) {
            return Err(Fault::Lost);
        }
        self.now = next;
        Err(Fault::Moved)
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
        let result = self.now.step(batch, out);
        self.moved(result)
    }

    fn step_best(&mut self, batch: &Batch<'_>, most: usize, out: &mut Vec<Vec<Candidate>>) -> Result<(), Fault> {
        let result = self.now.step_best(batch, most, out);
        self.moved(result)
    }

    fn states(&mut self, batch: &Batch<'_>, out: &mut Vec<f32>) -> Result<(), Fault> {
        let result = self.now.states(batch, out);
        self.moved(result)
    }

    fn profile(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<Timing>>, Fault> {
        self.now.profile(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn another_takes_over_once() {
        let gone = || Box::new(Answers(Err(Fault::Lost), 0.0));
        let mut spared = Spared::new(gone(), Box::new(|| Some(Box::new(Answers(Ok(()), 7.0)))));
        let batch = Batch { tokens: &[], tables: &[] };
        let mut out = Vec::new();
        assert_eq!(spared.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!((spared.step(&batch, &mut out), out.as_slice()), (Ok(()), &[7.0][..]));
        let mut alone = Spared::new(gone(), Box::new(|| None));
        assert_eq!(alone.step(&batch, &mut out), Err(Fault::Lost));
        let mut twice = Spared::new(gone(), Box::new(move || Some(gone())));
        assert_eq!(twice.step(&batch, &mut out), Err(Fault::Moved));
        assert_eq!(twice.step(&batch, &mut out), Err(Fault::Lost));
    }

    #[test]
    fn other_faults_stay_what_they_are() {
        let mut spared = Spared::new(Box::new(Answers(Err(Fault::Batch), 0.0)), Box::new(|| None));
        assert_eq!(spared.step(&Batch { tokens: &[], tables: &[] }, &mut Vec::new()), Err(Fault::Batch));
    }
}
