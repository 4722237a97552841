//! Who has good reason to believe whom: weighted edges, row by row.

use alloc::vec::Vec;

/// One peer's belief in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// In whom.
    pub to: u32,
    /// How much, in units of the row's owner; only shares of the row's sum matter.
    pub weight: u32,
}

/// Rows of edges in one piece of memory; a row that outgrows its place moves to the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    edges: Vec<Edge>,
    rows: Vec<Row>,
    /// Places of `edges` that belong to no row any more.
    lost: usize,
    /// Edges that there are.
    count: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    start: u32,
    len: u32,
    room: u32,
    /// The highest bit of the row's sum stands here.
    shift: u32,
    /// 2^(63 + shift) / sum: between 2⁶² and 2⁶³.
    inverse: u64,
    sum: u64,
}

impl Graph {
    /// How many peers there are.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many edges there are.
    pub const fn edges(&self) -> usize {
        self.count
    }

    /// Whether there is nobody.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One peer more, who believes nobody; its number.
    pub fn peer(&mut self) -> u32 {
        self.rows.push(Row::default());
        (self.rows.len() - 1) as u32
    }

    /// Whom `from` believes, in the order of their numbers; nobody, if `from` is unknown.
    pub fn row(&self, from: u32) -> &[Edge] {
        let Some(row) = self.rows.get(from as usize) else { return &[] };
        &self.edges[row.start as usize..][..row.len as usize]
    }

    /// All that `from` gives to others.
    pub fn sum(&self, from: u32) -> u64 {
        self.rows.get(from as usize).map_or(0, |row| row.sum)
    }

    /// How much `from` believes `to`.
    pub fn weight(&self, from: u32, to: u32) -> u32 {
        let row = self.row(from);
        row.binary_search_by_key(&to, |edge| edge.to).map_or(0, |at| row[at].weight)
    }

    /// Sets one edge; nothing takes it away. Both peers must be known.
    pub fn set(&mut self, from: u32, to: u32, weight: u32) {
        let row = self.rows[from as usize];
        let edges = &mut self.edges[row.start as usize..][..row.len as usize];
        match (edges.binary_search_by_key(&to, |edge| edge.to), weight) {
            (Err(_), 0) => return,
            (Ok(at), 0) => {
                edges.copy_within(at + 1.., at);
                self.count -= 1;
                self.rows[from as usize].len -= 1;
            }
            (Ok(at), _) => edges[at].weight = weight,
            (Err(at), _) => self.insert(from, at, Edge { to, weight }),
        }
        self.weigh(from);
    }

    /// Replaces all of a row, whose edges must be in the order of their numbers and not nothing.
    pub fn replace(&mut self, from: u32, edges: &[Edge]) {
        self.count += edges.len();
        self.count -= core::mem::take(&mut self.rows[from as usize].len) as usize;
        self.make_room(from, edges.len());
        let row = &mut self.rows[from as usize];
        self.edges[row.start as usize..][..edges.len()].copy_from_slice(edges);
        row.len = edges.len() as u32;
        self.weigh(from);
    }

    /// Calls `give` with each edge's part of `amount`, in proportion to the weights; what is left over by rounding, or
    /// because nobody is believed, comes back.
    ///
    /// One wide multiplication an edge: `amount / sum` is held with all bits that fit, and the weight is exact. Parts are rounded
    /// towards nothing: with what is left over they are never more than the amount, be it above nothing or below, so that what
    /// is pushed again and again comes to an end.
    #[inline]
    pub fn spread(&self, from: u32, amount: i64, mut give: impl FnMut(u32, i64)) -> i64 {
        let row = self.rows[from as usize];
        let unit = ((u128::from(amount.unsigned_abs()) * u128::from(row.inverse)) >> 63) as u64;
        let sign = amount >> 63;
        let mut left = amount;
        for edge in &self.edges[row.start as usize..][..row.len as usize] {
            let part = ((u128::from(unit) * u128::from(edge.weight)) >> row.shift) as i64;
            let part = (part ^ sign) - sign;
            left -= part;
            give(edge.to, part);
        }
        left
    }

    fn insert(&mut self, from: u32, at: usize, edge: Edge) {
        let len = self.rows[from as usize].len as usize;
        self.make_room(from, len + 1);
        let row = &mut self.rows[from as usize];
        let edges = &mut self.edges[row.start as usize..][..len + 1];
        edges.copy_within(at..len, at + 1);
        edges[at] = edge;
        row.len += 1;
        self.count += 1;
    }

    /// Room for `count` edges in a row; those that are there stay.
    fn make_room(&mut self, from: u32, count: usize) {
        let row = self.rows[from as usize];
        if count <= row.room as usize {
            return;
        }
        let room = if row.room == 0 { count } else { count.next_power_of_two() };
        let start = self.edges.len();
        assert!(start + room <= u32::MAX as usize, "the capacity of peers and rows keeps edges below 2^32");
        self.edges.extend_from_within(row.start as usize..row.start as usize + row.len as usize);
        self.edges.resize(start + room, Edge { to: 0, weight: 0 });
        self.lost += row.room as usize;
        self.rows[from as usize] = Row { start: start as u32, room: room as u32, ..row };
        if self.lost > self.edges.len() / 2 && self.lost > 1024 {
            self.pack();
        }
    }

    /// Closes the gaps that moved rows have left.
    fn pack(&mut self) {
        let mut edges = Vec::with_capacity(self.edges.len() - self.lost);
        for row in &mut self.rows {
            let old = row.start as usize;
            row.start = edges.len() as u32;
            edges.extend_from_slice(&self.edges[old..old + row.room as usize]);
        }
        (self.edges, self.lost) = (edges, 0);
    }

    fn weigh(&mut self, from: u32) {
        let sum = self.row(from).iter().map(|edge| u64::from(edge.weight)).sum::<u64>();
        let row = &mut self.rows[from as usize];
        row.sum = sum;
        (row.shift, row.inverse) = match sum.checked_ilog2() {
            Some(shift) => (shift, ((1_u128 << (63 + shift)) / u128::from(sum)) as u64),
            None => (0, 0),
        };
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::kit::Rng;

    #[test]
    fn holds_what_a_map_holds() {
        let (mut graph, mut map, mut rng) = (Graph::default(), BTreeMap::new(), Rng::new(1));
        (0..50).for_each(|_| {
            graph.peer();
        });
        for _ in 0..20_000 {
            let (from, to) = (rng.below(50), rng.below(50));
            let weight = if rng.below(4) == 0 { 0 } else { rng.next() as u32 };
            graph.set(from, to, weight);
            if weight == 0 {
                map.remove(&(from, to))
            } else {
                map.insert((from, to), weight)
            };
        }
        for from in 0..50 {
            let row: Vec<_> = graph.row(from).iter().map(|edge| ((from, edge.to), edge.weight)).collect();
            let expected: Vec<_> = map.range((from, 0)..=(from, u32::MAX)).map(|(key, value)| (*key, *value)).collect();
            assert_eq!(row, expected);
            assert_eq!(graph.edges(), map.len());
            assert_eq!(graph.sum(from), expected.iter().map(|pair| u64::from(pair.1)).sum::<u64>());
        }
        assert!(graph.edges.len() < 50 * 64 * 3, "{} places for {} edges", graph.edges.len(), map.len());
    }

    #[test]
    fn parts_are_in_proportion_and_nothing_is_lost() {
        let (mut graph, mut rng) = (Graph::default(), Rng::new(2));
        for round in 0..300 {
            let from = graph.peer();
            for to in 0..=round % 40 {
                graph.set(from, to.min(from), (rng.next() >> rng.below(33) >> 31) as u32 | 1);
            }
            let amount = (rng.next() >> rng.below(60)) as i64 >> 2;
            let (mut given, sum) = (0, graph.sum(from));
            let left = graph.spread(from, amount, |to, part| {
                given += part;
                let exact = i128::from(amount) * i128::from(graph.weight(from, to)) / i128::from(sum);
                assert!((i128::from(part) - exact).abs() <= 3, "{part} for {exact}");
            });
            assert_eq!(given + left, amount);
            assert!(left.abs() <= 200, "{left} of {amount} left over");
            let mut size = 0;
            assert_eq!(graph.spread(from, -amount, |_, part| size -= part), -left, "the same, turned round");
            assert_eq!(size + left, amount, "nothing grows by rounding");
        }
        let lonely = graph.peer();
        assert_eq!(graph.spread(lonely, 77, |_, _| panic!("nobody is believed")), 77);
    }
}
