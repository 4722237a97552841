//! Links between hosts: when a packet arrives, if it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use tutu_node::kit::{Rng, rng::mix};

/// How links are.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Packets of a million that are lost.
    pub loss_ppm: u32,
    /// That arrive twice.
    pub double_ppm: u32,
    /// That are held up for up to half a second, so that later ones overtake them.
    pub late_ppm: u32,
    /// The longest way takes so many milliseconds; two hosts are this far apart at most.
    pub reach_ms: u32,
    /// Hosts of a million behind a wall: only whom they wrote to in the last minute can write to them.
    pub walled_ppm: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { loss_ppm: 0, double_ppm: 0, late_ppm: 0, reach_ms: 80, walled_ppm: 0 }
    }
}

/// All links.
#[derive(Clone, Debug)]
pub struct Net {
    /// How they are now.
    pub config: Config,
    rng: Rng,
    seed: u64,
    /// One-way cuts, from and to.
    cuts: BTreeSet<(u32, u32)>,
    /// While the world is parted: hosts are on one side or the other by the hash of this and their number.
    parted: Option<u64>,
    /// Behind walls: from the walled one, to whom, until when there is a hole.
    holes: BTreeMap<(u32, u32), u64>,
}

/// Microseconds that a packet takes at least.
pub const NEAREST: u64 = 1000;
/// How long a wall remembers whom its host wrote to, in microseconds. Source: RFC 4787 REQ-5 asks for two minutes and finds
/// less in the field.
const HOLE: u64 = 60_000_000;

/// The address of host `n`.
pub fn addr(n: u32, port: u16) -> SocketAddr {
    let [_, a, b, c] = n.to_be_bytes();
    SocketAddr::from(([10, a, b, c], port))
}

/// The address of host `n` where each `office` of so many shares one, and has ports from `port` on.
pub fn office_addr(n: u32, port: u16, office: u32) -> SocketAddr {
    let [_, a, b, c] = (n / office).to_be_bytes();
    SocketAddr::from(([11, a, b, c], port + (n % office) as u16))
}

/// The host behind an address that is shared.
pub fn host_of_office(addr: &SocketAddr, port: u16, office: u32) -> Option<u32> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let [eleven, a, b, c] = ip.octets();
    let place = u32::from(addr.port().checked_sub(port)?);
    (eleven == 11 && place < office).then(|| u32::from_be_bytes([0, a, b, c]) * office + place)
}

/// The host behind `addr`.
pub fn host(addr: &SocketAddr) -> Option<u32> {
    match addr.ip() {
        IpAddr::V4(ip) => {
            let [ten, a, b, c] = ip.octets();
            (ten == 10).then(|| u32::from_be_bytes([0, a, b, c]))
        }
        IpAddr::V6(_) => None,
    }
}

impl Net {
    /// Links of the world of `seed`, from hosts of part `number`.
    pub fn new(config: Config, seed: u64, number: u32) -> Self {
        let rng = Rng::new(mix(seed ^ 0x006e_6574 ^ u64::from(number) << 32));
        Self { config, rng, seed, cuts: BTreeSet::new(), parted: None, holes: BTreeMap::new() }
    }

    /// Whether host `n` sits behind a wall. Host 0, whose address everybody knows, does not.
    pub fn is_walled(&self, n: u32) -> bool {
        if n == 0 {
            return false;
        }
        self.config.walled_ppm > 0
            && ((mix(self.seed ^ (u64::from(n) << 20)) >> 44) * 1_000_000) >> 20 < self.config.walled_ppm.into()
    }

    /// When packets from `from` to `to` sent at `now` arrive, in microseconds from then; none, one or two.
    pub fn carry(&mut self, now: u64, from: u32, to: u32) -> [Option<u64>; 2] {
        if self.config.walled_ppm > 0 {
            if self.is_walled(from) {
                self.holes.insert((from, to), now + HOLE);
            }
            if self.is_walled(to) && self.holes.get(&(to, from)).is_none_or(|until| *until < now) {
                return [None; 2];
            }
        }
        if self.is_cut(from, to) || self.rng.chance(self.config.loss_ppm) {
            return [None; 2];
        }
        let first = self.latency(from, to);
        let second = self.rng.chance(self.config.double_ppm).then(|| self.latency(from, to));
        [Some(first), second]
    }

    /// Whether nothing goes from `from` to `to`.
    pub fn is_cut(&self, from: u32, to: u32) -> bool {
        self.parted.is_some_and(|seed| side(seed, from) != side(seed, to))
            || (!self.cuts.is_empty() && self.cuts.contains(&(from, to)))
    }

    /// Cuts one way.
    pub fn cut(&mut self, from: u32, to: u32) {
        self.cuts.insert((from, to));
    }

    /// Mends all ways, and heals the world.
    pub fn mend(&mut self) {
        self.cuts.clear();
        self.parted = None;
    }

    /// Parts the world in two halves by chance.
    pub fn part(&mut self, seed: u64) {
        self.parted = Some(seed);
    }

    /// Whether something stands between hosts just now.
    pub fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.parted.is_none()
    }

    fn latency(&mut self, from: u32, to: u32) -> u64 {
        // Hosts sit on a square; ways are as long as they are there, with a tenth of jitter.
        let at = |n: u32| {
            let place = mix(self.seed ^ u64::from(n));
            ((place >> 16) as u16, place as u16)
        };
        let ((ax, ay), (bx, by)) = (at(from), at(to));
        let apart = u64::from(ax.abs_diff(bx)) + u64::from(ay.abs_diff(by));
        let way = NEAREST + apart * u64::from(self.config.reach_ms) * 1000 / (2 * 65_536);
        let mut way = way + way * u64::from(self.rng.below(100)) / 1000;
        if self.rng.chance(self.config.late_ppm) {
            way += u64::from(self.rng.below(500_000));
        }
        way
    }
}

fn side(seed: u64, n: u32) -> bool {
    mix(seed ^ u64::from(n)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loses_and_doubles_as_often_as_it_should() {
        let config = Config { loss_ppm: 300_000, double_ppm: 100_000, ..Config::default() };
        let mut net = Net::new(config, 1, 0);
        let (mut lost, mut doubled) = (0, 0);
        for n in 0..10_000 {
            match net.carry(0, n, n + 1) {
                [None, _] => lost += 1,
                [_, Some(_)] => doubled += 1,
                _ => {}
            }
        }
        assert!((2800..3200).contains(&lost) && (600..800).contains(&doubled), "{lost} {doubled}");
    }

    #[test]
    fn a_wall_opens_for_whom_its_host_wrote_to() {
        let mut net = Net::new(Config { walled_ppm: 500_000, ..Config::default() }, 3, 0);
        let walled = (0..100).find(|n| net.is_walled(*n)).unwrap();
        let open = (0..100).find(|n| !net.is_walled(*n)).unwrap();
        assert_eq!(net.carry(0, open, walled), [None; 2]);
        assert!(net.carry(1, walled, open)[0].is_some());
        assert!(net.carry(2, open, walled)[0].is_some());
        assert_eq!(net.carry(HOLE + 2, open, walled), [None; 2]);
    }

    #[test]
    fn cuts_go_one_way_and_partitions_both() {
        let mut net = Net::new(Config::default(), 3, 0);
        net.cut(1, 2);
        assert!(net.is_cut(1, 2) && !net.is_cut(2, 1));
        net.mend();
        net.part(9);
        let other = (2..50).find(|n| net.is_cut(1, *n)).unwrap();
        assert!(net.is_cut(other, 1));
        net.mend();
        assert!(net.is_whole());
    }

    #[test]
    fn addresses_name_hosts() {
        for n in [0, 1, 70_000, (1 << 24) - 1] {
            assert_eq!(host(&addr(n, 9)), Some(n));
            assert_eq!(host_of_office(&office_addr(n, 9, 16), 9, 16), Some(n));
            assert_eq!((host(&office_addr(n, 9, 16)), host_of_office(&addr(n, 9), 9, 16)), (None, None));
        }
    }
}
