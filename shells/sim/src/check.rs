//! What must always hold, checked after every event; what must hold after a calm; and what was measured on the way.

use std::{collections::BTreeMap, sync::Arc};

use tutu_node::{
    kit::{NodeId, Rng},
    mesh::swim::{Event, Record, State, cells},
};

use crate::{
    host::Host,
    names::Names,
    net::Net,
    plan::{Plan, Promise},
};

/// Judge and notary of a world.
pub struct Check {
    /// What must not be. The world stops at the first.
    pub violations: Vec<String>,
    /// What was measured.
    pub seen: Seen,
    plan_nodes: u32,
    /// Hosts from this number on lie.
    honest: u32,
    period: u64,
    /// See [`NEWS`].
    news: u64,
    lossy: bool,
    lifeguard: bool,
    no_false_death: bool,
    helpers_help: bool,
    names: Arc<Names>,
    /// The highest incarnation that each host signed.
    signed: Vec<u64>,
    /// When that was.
    spoke: Vec<u64>,
    state: Vec<HostState>,
    /// Who holds whom for dead, in which life.
    tombs: BTreeMap<(u32, u32), u64>,
    /// Who suspects whom, since when.
    suspects: BTreeMap<(u32, u32), u64>,
    live: u32,
    /// Microsecond until which trouble between hosts excuses errors.
    excused: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Crashes, one by one.
    pub crashes: Vec<Crash>,
    /// Lives that somebody declared over though the host ran, did not stall and could be reached.
    pub false_deaths: u32,
    /// Lives that somebody declared over while the host stalled, or shortly after.
    pub stalled_deaths: u32,
    /// Stalls.
    pub stalls: u32,
    /// Suspicions opened, by any host.
    pub suspicions: u64,
    /// Of them, those of hosts that ran, did not stall and could be reached.
    pub wronged: u64,
    /// Delegates that cells lack at the end, in a hundred.
    pub lacking: u32,
    /// Refutations.
    pub refutations: u64,
    /// Deaths declared by some host of some host that ran; excused or not.
    pub mistaken: u64,
    /// The longest, in microseconds, from the start of a life until somebody declared an earlier one over.
    pub belated: u64,
    /// Seconds from the last repair of the net until all tables were right.
    pub healed: Option<u64>,
    /// Deaths declared by some host of one that had said farewell.
    pub farewells_missed: u32,
    /// Times that somebody saw a host off, and microseconds from its farewell to then, in all.
    pub farewells: (u64, u64),
    /// Share of liars in samples of honest hosts, and among hosts; in parts per million.
    pub liars: Option<(u32, u32)>,
}

/// One crash, in microseconds.
#[derive(Clone, Debug)]
pub struct Crash {
    /// Whose.
    pub host: u32,
    /// When.
    pub at: u64,
    /// When it was first suspected.
    pub suspected: Option<u64>,
    /// When it was first declared dead.
    pub declared: Option<u64>,
    /// When everybody who lived then and since had declared it dead.
    pub known: Option<u64>,
    knowers: Vec<bool>,
    missing: u32,
    /// Whether there is no more to learn: everybody knows, or it is back.
    pub over: bool,
}

#[derive(Clone, Copy, Default)]
struct HostState {
    up: bool,
    /// Whether it left and is not back.
    left: bool,
    /// When it said farewell last.
    farewell: Option<u64>,
    stalled_until: u64,
    /// When its present life began.
    born: u64,
    /// The highest incarnation that it signed in the lives before.
    past: u64,
    /// The last life that was wrongly declared over, and whether the host had an excuse.
    mourned: u64,
    /// The crash that it lies in.
    crash: Option<usize>,
}

/// Periods after a stall or a repair in which what happened before it may still be believed.
const ECHO: u64 = 120;
/// Periods after which everybody must have heard that a host is back, at up to a tenth of loss and above: as soon as of a
/// death. Until then a life that is over may be declared so: the declarer cannot know better, and if it knew of the new life
/// it would not speak of the old one.
const NEWS: [u64; 2] = [5, 10];

impl Check {
    /// For a world as planned.
    pub fn new(plan: &Plan, names: Arc<Names>) -> Self {
        Self {
            violations: Vec::new(),
            seen: Seen::default(),
            plan_nodes: plan.nodes,
            honest: plan.honest(),
            period: plan.swim.period.as_micros() as u64,
            news: NEWS[usize::from(plan.net.loss_ppm > 100_000)],
            lossy: plan.net.loss_ppm > 0,
            lifeguard: plan.swim.lifeguard,
            no_false_death: plan.promise.no_false_death,
            helpers_help: plan.promise.helpers_help,
            names,
            signed: Vec::new(),
            spoke: Vec::new(),
            state: Vec::new(),
            tombs: BTreeMap::new(),
            suspects: BTreeMap::new(),
            live: 0,
            excused: 0,
        }
    }

    /// Something is not as it must be.
    pub fn broken(&mut self, now: u64, what: impl Into<String>) {
        self.violations.push(format!("{}.{:06} s: {}", now / 1_000_000, now % 1_000_000, what.into()));
    }

    /// There is one host more.
    pub fn knows(&mut self) {
        self.signed.push(0);
        self.spoke.push(0);
        self.state.push(HostState { up: true, ..HostState::default() });
        self.live += 1;
    }

    fn host_of(&self, id: &NodeId) -> Option<u32> {
        self.names.host_of(id)
    }

    /// Host `n` signs for `incarnation` from now on.
    pub fn lives(&mut self, now: u64, n: u32, incarnation: u64, honest_disk: bool) {
        let last = self.signed[n as usize];
        if incarnation <= last && honest_disk {
            self.broken(now, format!("{n} goes back from incarnation {last} to {incarnation}"));
        }
        self.signed[n as usize] = last.max(incarnation);
        self.spoke[n as usize] = now;
    }

    /// A host stalls until microsecond `until`.
    pub fn stalls(&mut self, n: u32, until: u64) {
        self.seen.stalls += 1;
        self.state[n as usize].stalled_until = until;
    }

    /// Hosts cannot reach each other from now on.
    pub fn disturbs(&mut self) {
        if !self.helpers_help {
            self.excused = u64::MAX;
        }
    }

    /// They can again.
    pub fn mends(&mut self, now: u64) {
        self.excused = now + ECHO * self.period;
    }

    /// A host says farewell.
    pub fn leaves(&mut self, now: u64, n: u32) {
        let state = &mut self.state[n as usize];
        (state.farewell, state.left) = (Some(now), true);
    }

    /// A host stops.
    pub fn stops(&mut self, now: u64, n: u32) {
        let state = &mut self.state[n as usize];
        (state.up, state.past) = (false, self.signed[n as usize]);
        self.live -= 1;
        self.tombs.retain(|(observer, _), _| *observer != n);
        self.suspects.retain(|(observer, _), _| *observer != n);
        for crash in self.seen.crashes.iter_mut().filter(|crash| !crash.over) {
            crash.learned(n, now, false);
        }
        if !self.state[n as usize].left {
            // Whoever starts later does not count: it does not know that there was anybody.
            let knowers = self.state.iter().map(|state| !state.up).collect();
            self.state[n as usize].crash = Some(self.seen.crashes.len());
            self.seen.crashes.push(Crash {
                host: n,
                at: now,
                suspected: None,
                declared: None,
                known: None,
                knowers,
                missing: self.live,
                over: false,
            });
        }
    }

    /// A host begins a life.
    pub fn starts(&mut self, now: u64, n: u32) {
        let state = &mut self.state[n as usize];
        (state.up, state.left, state.born) = (true, false, now);
        self.live += 1;
        if let Some(crash) = state.crash.take() {
            self.seen.crashes[crash].over = true;
        }
    }

    /// Host `n` came to think something.
    pub fn event(&mut self, now: u64, n: u32, event: &Event, net: &Net) {
        match event {
            Event::Joined(record) | Event::Changed(record) => {
                let Some(subject) = self.host_of(&record.id) else { return };
                self.suspects.remove(&(n, subject));
                if record.incarnation > self.signed[subject as usize] {
                    let text = format!("{n} has a word of {subject} that it never said ({})", record.incarnation);
                    self.broken(now, text);
                }
                match self.tombs.get(&(n, subject)) {
                    Some(tomb) if *tomb >= record.incarnation => {
                        self.broken(now, format!("ghost: {n} saw {subject} die and takes it for alive again"));
                    }
                    _ => {
                        self.tombs.remove(&(n, subject));
                    }
                }
            }
            Event::Suspected { id, incarnation } => {
                let Some(subject) = self.host_of(id) else { return };
                self.seen.suspicions += 1;
                self.suspects.insert((n, subject), now);
                if *incarnation > self.signed[subject as usize] {
                    self.broken(now, format!("{n} suspects {subject} in a life that it never had"));
                }
                if let Some(crash) = self.state[subject as usize].crash {
                    self.seen.crashes[crash].suspected.get_or_insert(now);
                }
                let state = self.state[subject as usize];
                let stalled = state.stalled_until > 0 && now < state.stalled_until + ECHO * self.period;
                let reached = now >= self.excused && net.is_whole() && !net.is_walled(subject);
                let honest = subject < self.honest && n < self.honest;
                let lives = state.up && !state.left && *incarnation > state.past;
                self.seen.wronged += u64::from(!stalled && reached && honest && lives);
            }
            Event::Cleared(id) => {
                if let Some(subject) = self.host_of(id) {
                    self.suspects.remove(&(n, subject));
                }
            }
            Event::Died { id, incarnation } => self.died(now, n, id, *incarnation, net),
            Event::Left(id) => {
                let Some(subject) = self.host_of(id) else { return };
                self.suspects.remove(&(n, subject));
                match self.state[subject as usize].farewell {
                    Some(at) => {
                        self.seen.farewells.0 += 1;
                        self.seen.farewells.1 += now - at;
                    }
                    None => self.broken(now, format!("{n} saw {subject} leave, which it did not")),
                }
            }
            Event::Forgotten(id) => {
                if let Some(subject) = self.host_of(id) {
                    self.suspects.remove(&(n, subject));
                    self.tombs.remove(&(n, subject));
                }
            }
            Event::Refuted(_) => self.seen.refutations += 1,
            Event::Pulse(..) => {}
        }
    }

    fn died(&mut self, now: u64, n: u32, id: &NodeId, incarnation: u64, net: &Net) {
        let Some(subject) = self.host_of(id) else { return };
        self.tombs.insert((n, subject), incarnation);
        match self.suspects.remove(&(n, subject)) {
            Some(since) if self.lifeguard && now - since < 4 * self.period => {
                let text = format!("{n} buries {subject} after {} ms: nobody can answer so fast", (now - since) / 1000);
                self.broken(now, text);
            }
            None if self.lifeguard => self.broken(now, format!("{n} buries {subject} and never suspected it")),
            _ => {}
        }
        let state = self.state[subject as usize];
        if let Some(crash) = state.crash {
            let crash = &mut self.seen.crashes[crash];
            crash.declared.get_or_insert(now);
            crash.learned(n, now, true);
            return;
        }
        if state.left {
            self.seen.farewells_missed += 1;
        }
        if !state.up || state.left {
            return;
        }
        if incarnation <= state.past {
            self.seen.belated = self.seen.belated.max(now - state.born);
            if now < state.born + self.news * self.period {
                return;
            }
        }
        if subject >= self.honest || n >= self.honest {
            return;
        }
        self.seen.mistaken += 1;
        if state.mourned == incarnation {
            return;
        }
        self.state[subject as usize].mourned = incarnation;
        if now < state.stalled_until + ECHO * self.period && state.stalled_until > 0 {
            self.seen.stalled_deaths += 1;
        } else if now >= self.excused && (net.is_whole() || self.helpers_help) && !net.is_walled(subject) {
            self.seen.false_deaths += 1;
            if self.no_false_death {
                self.broken(now, format!("{n} buries {subject}, which runs and can be reached"));
            }
        }
    }

    /// What must hold when the world ends.
    pub fn at_the_end(&mut self, now: u64, hosts: &[&Host], promise: Promise) {
        if promise.whole
            && let Some(wrong) = self.wrong(now, hosts)
        {
            self.broken(now, format!("after the calm {wrong}"));
        }
        if promise.cells
            && let Some(wrong) = self.wrong_cells(hosts)
        {
            self.broken(now, wrong);
        }
        self.seen.lacking = lacking(hosts);
        if promise.together
            && let Some(lonely) = self.lonely(hosts)
        {
            self.broken(now, lonely);
        }
        if promise.fair_samples {
            let (share, fair) = (self.liars_in_samples(hosts), 1_000_000 - self.honest * 1000 / self.plan_nodes * 1000);
            self.seen.liars = Some((share, fair));
            if share > fair / 10 * 13 {
                self.broken(now, format!("{share} ppm of samples are liars, but {fair} ppm of hosts"));
            }
        }
        debug_assert_eq!(self.plan_nodes as usize, hosts.len());
    }

    /// Whether everybody knows its cell and the way to others; if not, one thing that is wrong.
    fn wrong_cells(&self, hosts: &[&Host]) -> Option<String> {
        let there = |n: usize| n < self.honest as usize && hosts[n].node.is_some() && !self.state[n].left;
        let live: Vec<usize> = (0..hosts.len()).filter(|n| there(*n)).collect();
        let place = |n: usize| Some(cells::place(hosts[n].node.as_ref()?.swim().me()));
        let mut places: Vec<u64> = live.iter().filter_map(|n| place(*n)).collect();
        places.sort_unstable();
        let (mut contacts, mut gone, mut levels) = (0, 0, 0);
        for n in &live {
            let swim = hosts[*n].node.as_ref()?.swim();
            let bits = u32::from(swim.cell_bits());
            let cell = |place: u64| if bits == 0 { 0 } else { place >> (64 - bits) };
            let own = cell(place(*n)?);
            let all = places.partition_point(|place| cell(*place) <= own)
                - places.partition_point(|place| cell(*place) < own);
            let honest = |record: &Record| self.host_of(&record.id).is_some_and(|n| n < self.honest);
            let living = swim.members().filter(|(_, state)| matches!(state, State::Alive | State::Suspect));
            let known: Vec<_> = living.filter(|(record, _)| honest(record)).collect();
            if known.len() + 1 != all {
                let gone = |(record, state): &(&Arc<Record>, State)| {
                    let host = self.host_of(&record.id).filter(|n| !there(*n as usize))?;
                    Some(format!("; {host} is not there ({state:?} in life {})", record.incarnation))
                };
                let gone: String = known.iter().filter_map(gone).collect();
                return Some(format!("{n} knows {} of the {all} in its cell of {bits} bits{gone}", known.len() + 1));
            }
            if bits > 0 && swim.contacts().next().is_none() {
                return Some(format!("{n} knows nobody outside its cell"));
            }
            levels += bits as usize;
            for record in swim.contacts() {
                contacts += 1;
                gone += usize::from(self.host_of(&record.id).is_some_and(|n| !there(n as usize) && n < self.honest));
            }
        }
        if levels == 0 {
            return Some(format!("there are {} hosts and no cells", live.len()));
        }
        if contacts < levels * cells::CONTACTS as usize / 2 {
            return Some(format!("cells know {contacts} delegates at {levels} levels"));
        }
        (gone * 10 > contacts).then(|| format!("{gone} of {contacts} delegates are not there any more"))
    }

    /// Whether some honest host lost touch with the other honest ones; if so, which.
    fn lonely(&self, hosts: &[&Host]) -> Option<String> {
        let there = |n: &usize| hosts[*n].node.is_some() && !self.state[*n].left;
        let honest: Vec<usize> = (0..self.honest as usize).filter(there).collect();
        let mut known_by = vec![0; hosts.len()];
        for n in &honest {
            let mut knows = 0;
            for (record, state) in hosts[*n].node.as_ref()?.swim().members() {
                let subject = self.host_of(&record.id).filter(|subject| *subject < self.honest);
                if let (Some(subject), State::Alive | State::Suspect) = (subject, state) {
                    knows += 1;
                    known_by[subject as usize] += 1;
                }
            }
            if knows * 2 < honest.len() {
                return Some(format!("{n} is isolated: it knows {knows} of {} honest hosts", honest.len()));
            }
        }
        let lonely = honest.iter().find(|n| known_by[**n] * 2 < honest.len())?;
        Some(format!("{lonely} is isolated: {} of {} honest hosts know it", known_by[*lonely], honest.len()))
    }

    /// Which share of what honest hosts draw by chance are liars, or names of theirs; in parts per million.
    fn liars_in_samples(&self, hosts: &[&Host]) -> u32 {
        let (mut liars, mut all) = (0_u64, 0_u64);
        for (n, host) in hosts.iter().enumerate().take(self.honest as usize) {
            let Some(node) = &host.node else { continue };
            let mut rng = Rng::new(n as u64);
            for record in (0..200).filter_map(|_| node.swim().sample(&mut rng)) {
                all += 1;
                liars += u64::from(self.host_of(&record.id).is_none_or(|n| n >= self.honest));
            }
        }
        (liars * 1_000_000 / all.max(1)) as u32
    }

    /// Whether all tables say what is; if not, one thing that is wrong. Where packets get lost somebody is always suspected and
    /// refutes it: that is wrong when the answer should have been here.
    pub fn wrong(&self, now: u64, hosts: &[&Host]) -> Option<String> {
        let live: Vec<bool> =
            hosts.iter().zip(&self.state).map(|(host, state)| host.node.is_some() && !state.left).collect();
        let count = live.iter().filter(|live| **live).count();
        for (n, host) in hosts.iter().enumerate().filter(|(n, _)| live[*n]) {
            let node = host.node.as_ref()?;
            let mut known = 1;
            for (record, state) in node.swim().members() {
                let Some(subject) = self.host_of(&record.id) else { continue };
                let there = live[subject as usize];
                match state {
                    State::Alive | State::Suspect if !there => {
                        return Some(format!("{n} takes {subject} for alive, which is not there"));
                    }
                    State::Suspect if !self.just_asked(now, n as u32, subject) => {
                        return Some(format!("{n} suspects {subject}, which is there"));
                    }
                    State::Dead | State::Left if there => {
                        let other = hosts[subject as usize].node.as_ref()?.swim();
                        return Some(format!(
                            "{n} takes {subject} for {state:?} in life {}, which is there in life {} and knows {}",
                            record.incarnation,
                            other.me().incarnation,
                            other.living()
                        ));
                    }
                    State::Alive | State::Suspect => {
                        known += 1;
                        if record.incarnation < self.signed[subject as usize]
                            && !self.is_under_way(now, self.spoke[subject as usize])
                            && hosts[subject as usize].disk.is_honest()
                        {
                            return Some(format!("{n} has old facts of {subject}"));
                        }
                    }
                    State::Dead | State::Left => {}
                }
            }
            if known != count {
                let missed = (0..hosts.len())
                    .find(|other| *other != n && live[*other] && node.swim().member(&hosts[*other].id).is_none());
                let missed = missed.map_or_else(String::new, |other| format!(", and not {other}"));
                return Some(format!("{n} knows {known} of {count}{missed}"));
            }
        }
        None
    }

    /// Whether `n` suspects `subject` since so short a time.
    fn just_asked(&self, now: u64, n: u32, subject: u32) -> bool {
        self.suspects.get(&(n, subject)).is_some_and(|since| self.is_under_way(now, *since))
    }

    /// Whether packets get lost, and what began at `since` is so young that the answer may be under way.
    const fn is_under_way(&self, now: u64, since: u64) -> bool {
        self.lossy && now < since + self.news * self.period
    }
}

/// Delegates that there should be at each level and are not, in a hundred.
fn lacking(hosts: &[&Host]) -> u32 {
    let nodes = || hosts.iter().filter_map(|host| host.node.as_ref()).map(|node| node.swim());
    let wanted: u64 = nodes().map(|swim| u64::from(swim.cell_bits()) * cells::CONTACTS).sum();
    let known: u64 = nodes().map(|swim| swim.contacts().count() as u64).sum();
    (wanted.saturating_sub(known) * 100 / wanted.max(1)) as u32
}

impl Crash {
    fn learned(&mut self, n: u32, now: u64, declared: bool) {
        if let Some(knows) = self.knowers.get_mut(n as usize)
            && !*knows
        {
            *knows = true;
            self.missing -= 1;
            if self.missing == 0 && (declared || self.declared.is_some()) {
                self.known.get_or_insert(now);
                self.over = true;
            }
        }
    }
}
