//! Small objects share a split.

use std::sync::Arc;

use falco_core::{BoxStream, Result};
use futures_util::{StreamExt, stream};

use super::Split;
use crate::object::Object;

/// A range of an object on its way into a split.
pub(super) struct Piece {
    pub(super) object: Object,
    pub(super) header: Option<Arc<str>>,
    /// Whether it may share a split with others.
    pub(super) packs: bool,
}

/// A reference has some 200 bytes, and platforms take a megabyte.
const MOST_OBJECTS: usize = 1_000;

struct Packing {
    pieces: BoxStream<'static, Result<Piece>>,
    next: Option<Piece>,
    number: u64,
    target: u64,
}

/// Numbers the splits, and fills them up to `target` where pieces pack.
pub(super) fn numbered(
    pieces: BoxStream<'static, Result<Piece>>,
    target: u64,
) -> BoxStream<'static, Result<Split>> {
    let packing = Packing { pieces, next: None, number: 0, target };
    let splits = stream::try_unfold(packing, |mut packing| async move {
        Ok(packing.split().await?.map(|split| (split, packing)))
    });
    splits.boxed()
}

impl Packing {
    async fn split(&mut self) -> Result<Option<Split>> {
        let first = match self.next.take() {
            Some(piece) => piece,
            None => match self.pieces.next().await.transpose()? {
                Some(piece) => piece,
                None => return Ok(None),
            },
        };
        let number = self.number;
        self.number += 1;
        let Piece { object, header, packs } = first;
        let mut length = object.len().unwrap_or(0);
        let mut objects = vec![object];
        while packs && length < self.target && objects.len() < MOST_OBJECTS {
            let Some(piece) = self.pieces.next().await.transpose()? else { break };
            let total = length + piece.object.len().unwrap_or(0);
            if !piece.packs || total > self.target || piece.header != header {
                self.next = Some(piece);
                break;
            }
            length = total;
            objects.push(piece.object);
        }
        Ok(Some(Split { objects, number, header: header.map(|header| header.to_string()) }))
    }
}
