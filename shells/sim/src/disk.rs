//! A disk that may forget and tear.

use tutu_node::node::Kept;

/// A kind, and a number where there are many of it.
type Name = (&'static str, Option<u64>);

/// What one host keeps.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    kept: Vec<(Name, Vec<u8>)>,
    /// Saves that still reach the platter; after them it only says that they did.
    honest_for: Option<u32>,
    torn: bool,
}

impl Disk {
    /// Keeps `record` in the place of the last of its kind and number.
    pub fn save(&mut self, record: &Kept) {
        if let Some(left) = &mut self.honest_for {
            if *left == 0 {
                return;
            }
            *left -= 1;
        }
        let (key, bytes) = ((record.key(), record.number()), record.encode());
        match self.kept.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => entry.1 = bytes,
            None => self.kept.push((key, bytes)),
        }
    }

    /// Forgets every save after the next `count`.
    pub fn forget_after(&mut self, count: u32) {
        self.honest_for = Some(count);
    }

    /// Tears what was written last: only its first half is there.
    pub fn tear(&mut self) {
        self.torn = true;
        if let Some((_, bytes)) = self.kept.last_mut() {
            bytes.truncate(bytes.len() / 2);
        }
    }

    /// Whether every save so far was kept.
    pub fn is_honest(&self) -> bool {
        self.honest_for.is_none() && !self.torn
    }

    /// What a node finds when it begins again; what cannot be read is not there.
    pub fn records(&self) -> Vec<Kept> {
        self.kept.iter().filter_map(|(_, bytes)| Kept::decode(bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_came_after_and_tears_what_came_last() {
        let mut disk = Disk::default();
        disk.save(&Kept::Peers(vec![vec![1, 2, 3]]));
        disk.forget_after(1);
        disk.save(&Kept::Incarnation(5));
        disk.save(&Kept::Incarnation(6));
        assert_eq!(disk.records(), [Kept::Peers(vec![vec![1, 2, 3]]), Kept::Incarnation(5)]);
        disk.tear();
        assert_eq!(disk.records(), [Kept::Peers(vec![vec![1, 2, 3]])]);
    }
}
