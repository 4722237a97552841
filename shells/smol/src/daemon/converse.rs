//! One question and its answers, whichever the API.

use std::{fmt, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use tutu_node::work::pool::Keep;

use super::{Daemon, Lease, Named, Quota, Refusal, Wanted, Wish, extras::Extras};
use crate::{
    engine::{self, Adapter, Answer, Sources},
    talk::{self, Ask, Delta, Dropped, End, Heard},
};

/// Who asks, and how long the model shall stay.
#[derive(Clone, Debug, Default)]
pub struct Hearing {
    /// Who.
    pub client: Client,
    /// Tokens of context; `None` for what was stored or set.
    pub context: Option<usize>,
    /// How long the model stays afterwards.
    pub keep: Option<Keep>,
    /// Adapters beside those of the model.
    pub adapters: Vec<Wish>,
    /// The name of a small model that guesses ahead: the answer is the same, and may come sooner.
    pub draft: Option<String>,
}

/// Somebody who asks.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Those with the same name take turns with each other.
    pub name: String,
    /// What pays for it.
    pub quota: Option<Arc<Quota>>,
}

/// A question that is being answered. Dropped, it is paid for: its prompts, and what was written until then.
pub struct Conversation {
    /// The answers, as many as were asked for.
    pub answers: Vec<Answer>,
    /// What of the prompt was left out.
    pub dropped: Dropped,
    /// What was asked and the model has no use for.
    pub unused: Vec<&'static str>,
    /// The prompts, as the model reads them.
    pub prompts: Vec<Vec<u32>>,
    /// How long the model took to open, where it was opened for this.
    pub load: Duration,
    lease: Lease,
    adapters: Vec<Adapter>,
    /// Which answer is looked at first.
    turn: usize,
    quota: Option<Arc<Quota>>,
    /// Whether the engine would not begin: then nothing was computed.
    refused: bool,
}

/// Answers that did not come to their ends.
#[derive(Debug)]
pub enum Cut {
    /// The engine failed.
    Failed(engine::Error),
    /// Its thread is gone.
    Gone,
}

impl Conversation {
    /// The model that answers.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The adapters that the answers are written with.
    pub fn adapters(&self) -> &[Adapter] {
        &self.adapters
    }

    /// The next piece of the only answer.
    pub async fn next(&mut self) -> Option<Heard> {
        let heard = self.answers.first_mut()?.next().await;
        self.note(heard.as_ref());
        heard
    }

    /// The next piece of whichever answer has one, and which answer that is. Nothing when all have ended; one that
    /// did so without an end is gone with its model.
    pub async fn next_of_any(&mut self) -> Option<(usize, Heard)> {
        let first = self.turn;
        let mut waiting: Vec<_> = self.answers.iter_mut().map(|answer| Some(Box::pin(answer.next()))).collect();
        let found = poll_fn(|cx| {
            let count = waiting.len();
            let mut live = false;
            // Whoever comes after the one that was heard last is looked at first, so that all are heard.
            for at in (0..count).map(|step| (first + step) % count) {
                let Some(answer) = &mut waiting[at] else { continue };
                match answer.as_mut().poll(cx) {
                    Poll::Ready(Some(heard)) => return Poll::Ready(Some((at, heard))),
                    Poll::Ready(None) => waiting[at] = None,
                    Poll::Pending => live = true,
                }
            }
            if live { Poll::Pending } else { Poll::Ready(None) }
        });
        let found = found.await;
        drop(waiting);
        self.turn = found.as_ref().map_or(0, |(at, _)| at + 1);
        self.note(found.as_ref().map(|(_, heard)| heard));
        found
    }

    /// All answers to their ends; `take` adds each piece to what came before.
    ///
    /// # Errors
    /// [`Cut`], of whichever answer is cut first.
    pub async fn gather<T: Default>(&mut self, take: impl Fn(&mut T, Delta)) -> Result<(Vec<T>, Vec<End>), Cut> {
        let mut wholes: Vec<T> = self.answers.iter().map(|_| T::default()).collect();
        let mut ends: Vec<Option<End>> = vec![None; wholes.len()];
        while let Some((index, heard)) = self.next_of_any().await {
            match heard {
                Heard::Delta(delta) => take(&mut wholes[index], delta),
                Heard::End(end) => ends[index] = Some(end),
                Heard::Failed(error) => return Err(Cut::Failed(error)),
            }
        }
        let ends = ends.into_iter().collect::<Option<_>>().ok_or(Cut::Gone)?;
        Ok((wholes, ends))
    }

    fn note(&mut self, heard: Option<&Heard>) {
        self.refused |= matches!(heard, Some(Heard::Failed(_)));
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let Some(quota) = &self.quota else { return };
        let written: u64 = self.answers.iter().map(Answer::written).sum();
        let read: usize = self.prompts.iter().map(Vec::len).sum();
        // Whoever leaves before the first token has had the prompt read, or would have.
        let read = if self.refused && written == 0 { 0 } else { read };
        quota.tokens(written + read as u64);
    }
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// What was asked cannot be had of this model.
    Talk(talk::Error),
    /// The model cannot be had.
    Refusal(Refusal),
    /// The engine said no, or failed.
    Engine(engine::Error),
    /// Something that is named beside the model is not here; the text says what.
    Missing(String),
    /// Something that is named beside the model is not what it must be; the text says why.
    Unfit(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Talk(error) => error.fmt(f),
            Self::Refusal(refusal) => refusal.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Missing(text) | Self::Unfit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl Daemon {
    /// Opens a model, or waits for its turn.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lease(&self, named: &Arc<Named>, hearing: &Hearing) -> Result<Lease, Error> {
        let extras = self.extras(named, hearing).await?;
        self.lease_with(named, hearing, &extras).await
    }

    /// The same with what else the request names.
    pub(super) async fn lease_with(
        &self,
        named: &Arc<Named>,
        hearing: &Hearing,
        extras: &Extras,
    ) -> Result<Lease, Error> {
        let wanted = Wanted {
            sources: Sources { adapters: Vec::new(), ..named.model.sources.clone() },
            extra: extras.bytes,
            name: named.record.name.clone(),
            context: self.context(named, hearing.context),
            keep: hearing.keep,
            client: hearing.client.name.clone(),
        };
        let lease = self.pool.lease(wanted).await?;
        let (lookup, store, named) = (Arc::clone(&self.lookup), Arc::clone(&self.store), Arc::clone(named));
        smol::unblock(move || lookup.note_use(&store, &named)).detach();
        self.ready(&lease, extras).await?;
        Ok(lease)
    }

    /// Asks a model for `count` answers, which differ by their seeds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn converse(
        &self,
        named: &Arc<Named>,
        hearing: &Hearing,
        ask: Ask,
        count: usize,
    ) -> Result<Conversation, Error> {
        self.converse_all(named, hearing, vec![ask], count).await
    }

    /// Asks a model several questions at once, each for `count` answers; those to one question stand together.
    ///
    /// # Errors
    /// [`Error`]; then none is asked.
    pub async fn converse_all(
        &self,
        named: &Arc<Named>,
        hearing: &Hearing,
        asks: Vec<Ask>,
        count: usize,
    ) -> Result<Conversation, Error> {
        let extras = self.extras(named, hearing).await?;
        let lease = self.lease_with(named, hearing, &extras).await?;
        let (base, context, of) = (lease.card().clone(), self.context(named, hearing.context), Arc::clone(named));
        // A long prompt takes a while, and nobody else's connection shall wait for that.
        let prepare = move || {
            let card = of.card(&base).map_err(talk::Error::Template)?.within(context);
            asks.iter().map(|ask| talk::prepare(&card, ask)).collect::<Result<Vec<_>, _>>()
        };
        let prepared = smol::unblock(prepare).await.map_err(Error::Talk)?;
        let mut conversation = Conversation {
            answers: Vec::new(),
            dropped: Dropped::default(),
            unused: Vec::new(),
            prompts: Vec::new(),
            load: lease.load(),
            lease,
            adapters: extras.adapters.clone(),
            turn: 0,
            quota: hearing.client.quota.clone(),
            refused: false,
        };
        for mut prepared in prepared {
            prepared.request.adapters.clone_from(&extras.adapters);
            prepared.request.draft.clone_from(&extras.draft);
            for number in 0..count.max(1) as u64 {
                let mut prepared = prepared.clone();
                let seed = &mut prepared.request.sampling.seed;
                *seed = seed.wrapping_add(number);
                conversation.answers.push(conversation.lease.handle().answer(prepared));
            }
            conversation.dropped.messages += prepared.dropped.messages;
            conversation.dropped.tokens += prepared.dropped.tokens;
            conversation.prompts.push(prepared.request.prompt);
            conversation.unused = prepared.unused;
        }
        Ok(conversation)
    }
}
