//! Rows of activations, quantised for whatever they are multiplied with.

use std::sync::Mutex;

use crate::{
    acts::{Acts, ByteBlocks, Family, TileMut, WholeBlocks, WordBlocks, tiles},
    lanes::{Lanes, Task},
    linear::Input,
    panel::Takes,
    pool::Pool,
};

/// Where rows are read.
pub(crate) type Row<'f, 'x> = &'f (dyn Fn(usize) -> &'x [f32] + Sync);

/// The same rows in each form that a weight takes; room is kept from step to step.
#[derive(Default)]
pub(crate) struct Quantised {
    bytes: Acts<ByteBlocks>,
    wholes: Acts<WholeBlocks>,
    words: Acts<WordBlocks>,
}

impl Quantised {
    /// Quantises the first `n` rows of `width` elements in the form that is taken, on all threads where there are many.
    pub(crate) fn fill<L: Lanes>(
        &mut self,
        takes: Takes,
        pool: &mut Pool,
        lanes: L,
        n: usize,
        width: usize,
        row: Row<'_, '_>,
    ) {
        match takes {
            Takes::Bytes => fill(&mut self.bytes, pool, lanes, n, width, row),
            Takes::Wholes => fill(&mut self.wholes, pool, lanes, n, width, row),
            Takes::Words => fill(&mut self.words, pool, lanes, n, width, row),
            Takes::Floats => {}
        }
    }

    /// What was filled in the form that is taken; `floats` are the rows themselves, `stride` apart.
    pub(crate) fn input<'x>(&'x self, takes: Takes, floats: &'x [f32], stride: usize) -> Input<'x> {
        match takes {
            Takes::Bytes => Input::Bytes(&self.bytes),
            Takes::Wholes => Input::Wholes(&self.wholes),
            Takes::Words => Input::Words(&self.words),
            Takes::Floats => Input::Floats { x: floats, stride },
        }
    }
}

fn fill<L: Lanes, F: Family>(acts: &mut Acts<F>, pool: &mut Pool, lanes: L, n: usize, width: usize, row: Row<'_, '_>) {
    acts.reserve(n, width, L::TILE);
    if n < 8 {
        acts.tiles_mut(n).for_each(|(first, tile)| lanes.run(Fill { tile, first, row }));
        return;
    }
    let count = tiles(n, L::TILE).count();
    let left = Mutex::new(acts.tiles_mut(n));
    pool.run(count, &|_| {
        let next = left.lock().expect("nobody panics while holding it").next();
        let (first, tile) = next.expect("as many as were counted");
        lanes.run(Fill { tile, first, row });
    });
}

/// Quantises the rows of one tile.
struct Fill<'t, 'r, 'x, F: Family> {
    tile: TileMut<'t, F>,
    first: usize,
    row: Row<'r, 'x>,
}

impl<F: Family> Task for Fill<'_, '_, '_, F> {
    type Out = ();

    #[inline(always)]
    fn go<L: Lanes>(mut self, l: L) {
        for t in 0..self.tile.width() {
            self.tile.fill(l, t, (self.row)(self.first + t));
        }
    }
}
