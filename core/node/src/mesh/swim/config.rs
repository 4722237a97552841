//! The numbers of membership, and where each comes from.

use core::time::Duration;

use super::suspicion::Bounds;

/// How membership behaves. All members of a network should agree on [`period`](Self::period); nothing breaks if they do not.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Each member asks one other, once a period. SWIM's T'.
    pub period: Duration,
    /// Members that are remembered, the dead included. Beyond, strangers are refused, so that nobody is pushed out by a
    /// flood of new names.
    pub members_max: usize,
    /// Members at one host (an IPv4 address, an IPv6 prefix of 64 bits): homes share one, farms of invented names too.
    pub per_host_max: u8,
    /// Members that each tick of gossip goes to. Source: memberlist's `GossipNodes`.
    pub fanout: u8,
    /// News that are told at a time; comparing tables brings what found no room.
    pub rumours_max: usize,
    /// Lifeguard: local health, time-outs that shrink with different accusers, telling the accused first, and no belief in
    /// deaths by hearsay. Off, this is SWIM as published, with the shortest time-out, and only good for comparison.
    pub lifeguard: bool,
    /// How long the dead are remembered. Partitions shorter than this bring back no ghost.
    pub remember: Duration,
    /// Periods between two comparisons of tables with somebody, when all is quiet.
    pub compare_every: u32,
    /// Members of a cell; a network with more falls into cells. A table of so many takes 120 KB, and what changes among
    /// so many home computers about 0.5 KB/s.
    pub flat_max: usize,
    /// Bytes of a body.
    pub body_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            members_max: 16_384,
            per_host_max: 16,
            fanout: 3,
            rumours_max: 256,
            lifeguard: true,
            remember: Duration::from_secs(7 * 24 * 3600),
            compare_every: 30,
            flat_max: 4096,
            body_max: crate::wire::packet::BODY_MAX,
        }
    }
}

impl Config {
    /// The time-outs of suspicion among `members`.
    ///
    /// At their shortest they are 8 periods for each decimal digit of the number of members: 24 s among 1,000, so that one
    /// that stalled for 20 s can still answer, and everybody hear of it. With memberlist's 4, and with 6, the longest of
    /// those stalls were deaths. At their longest they are 24, as memberlist's are (`SuspicionMaxTimeoutMult`, 6, times 4):
    /// a lone accuser waits three times as long as four.
    /// Whoever is suspected gets no work anyway; only the funeral waits.
    pub(super) fn bounds(&self, members: usize) -> Bounds {
        // Tenths of log10, from sixteenths of log2; among few, as if among ten.
        let digits = (log2_16(members.max(10) as u32) * 301 / 1600).max(10);
        let periods = |tenths: u32| self.period * tenths / 10;
        if self.lifeguard {
            Bounds {
                shortest: periods(8 * digits),
                longest: periods(24 * digits),
                // The accusation reaches the accused within half of it and its answer everybody within the other.
                floor: periods(30 + digits * 3 / 2),
                last_call: self.period * 2,
            }
        } else {
            let fixed = periods(8 * digits);
            Bounds { shortest: fixed, longest: fixed, floor: Duration::ZERO, last_call: Duration::ZERO }
        }
    }

    /// How often news is told by each who hears it.
    ///
    /// To be told f times each reaches all but e^-f of the members (Demers et al., "Epidemic Algorithms", 1987): f must
    /// exceed ln N, and more so where news get lost: `unanswered` is the share of questions, in parts per million, that
    /// stay without answer. Slow news that are heard again count as told; comparing tables finds the rest.
    pub(super) fn retellings(&self, members: usize, urgent: bool, unanswered: u32) -> u8 {
        let log = log2_16(members.max(2) as u32) / 16;
        let times = if urgent { 3 + log * 5 / 4 } else { 2 + log * 3 / 4 };
        // Of news that go one way, about half as many are lost as of questions and answers that go both.
        (times + times * unanswered.min(800_000) / 1_000_000).min(200) as u8
    }
}

/// Sixteenths of the binary logarithm of `x`, at most one too low; 0 for 0.
pub(super) const fn log2_16(x: u32) -> u32 {
    if x == 0 {
        return 0;
    }
    let whole = x.ilog2();
    // The four bits behind the leading one, and the bend of the logarithm between powers of two.
    const BEND: [u32; 16] = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15];
    let next = ((x as u64) << 4 >> whole) as usize & 15;
    whole * 16 + BEND[next]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_a_sixteenth() {
        for x in [1_u32, 2, 3, 7, 10, 100, 1000, 9999, 1 << 20, 12_345_678, u32::MAX] {
            let exact = f64::from(x).log2() * 16.0;
            assert!((f64::from(log2_16(x)) - exact).abs() <= 1.3, "{x}: {} is not {exact}", log2_16(x));
        }
    }

    #[test]
    fn time_outs_grow_with_the_number_of_members() {
        let config = Config::default();
        let at = |members| {
            let bounds = config.bounds(members);
            [bounds.floor, bounds.shortest, bounds.longest].map(|bound| bound.as_millis() / 100)
        };
        assert_eq!(at(2), [45, 80, 240]);
        assert_eq!(at(500), [69, 208, 624]);
        assert_eq!(at(10_000), [88, 312, 936]);
    }
}
