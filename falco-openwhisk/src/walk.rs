//! The way through the list of activations: which page is read next.
//!
//! It does no I/O: [`Walk::next`] names a request, and [`Walk::page`] takes in what it brought. Between the two it may be
//! dropped or asked again, so that a collect that is dropped at an await loses nothing.

/// Records of a page of the list.
pub(crate) const PAGE: usize = 200;

/// The state of reading one list, from the newest record down.
///
/// Two readers share it: one begins at the top in each look and ends where it meets records that were seen; the other
/// goes on, further down, where reading was left.
#[derive(Debug)]
pub(crate) struct Walk {
    top: Option<Cursor>,
    rest: Option<Cursor>,
    /// Where the last reading from the top met what was seen, if the list goes on below.
    bottom: Option<Cursor>,
    page_size: usize,
}

/// A place in the list: at records that began at `upto` or before, without the first `skip` of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    upto: Option<u64>,
    skip: usize,
    /// Whether the reading ends where it meets what was seen before.
    until_seen: bool,
}

/// A page to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// The latest start of its records, in milliseconds.
    pub(crate) upto: Option<u64>,
    pub(crate) skip: usize,
    pub(crate) limit: usize,
}

/// The rows of a page, as far as they matter for the way.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    /// The earliest start, in milliseconds, and how many records have it.
    pub(crate) oldest: Option<(u64, usize)>,
    /// Whether the first record of that start was seen before.
    pub(crate) oldest_was_seen: bool,
}

impl Rows {
    /// Takes in a row, the next one down the list.
    pub(crate) fn add(&mut self, start: u64, was_seen: bool) {
        match &mut self.oldest {
            Some((oldest, at_oldest)) if start == *oldest => *at_oldest += 1,
            Some((oldest, _)) if start > *oldest => {}
            oldest => {
                *oldest = Some((start, 1));
                self.oldest_was_seen = was_seen;
            }
        }
    }
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { top: None, rest: None, bottom: None, page_size: PAGE }
    }

    /// Whether there is a page to read.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.top.is_some() || self.rest.is_some()
    }

    /// Begins to read all of the list, as nothing of it was read so far down.
    pub(crate) fn read_all(&mut self) {
        *self = Self { rest: Some(Cursor::default()), page_size: self.page_size, ..Self::new() };
    }

    /// Begins at the top. Where an earlier reading was left above another, all from there on is read by one of them.
    pub(crate) fn begin(&mut self) {
        self.bottom = None;
        if self.rest.is_some_and(|rest| rest.upto.is_none()) {
            return;
        }
        if let Some(left) = self.top.filter(|left| left.upto.is_some()) {
            self.rest = Some(Cursor { until_seen: self.rest.is_none(), ..left });
        }
        self.top = Some(Cursor { until_seen: true, ..Cursor::default() });
    }

    /// Goes on below the place where the last reading from the top ended, to the end of the list.
    pub(crate) fn read_below(&mut self) {
        if let Some(bottom) = self.bottom.take() {
            self.rest = Some(Cursor { until_seen: false, ..bottom });
        }
    }

    /// Whether all is read that is known to be there, and records may have appeared further down.
    pub(crate) fn ends_at_seen(&self) -> bool {
        !self.is_unfinished() && self.bottom.is_some()
    }

    /// The next page to ask for.
    pub(crate) fn next(&self) -> Option<PageRequest> {
        let Cursor { upto, skip, .. } = self.top.or(self.rest)?;
        Some(PageRequest { upto, skip, limit: self.page_size })
    }

    /// Takes in the page that [`next`](Self::next) asked for.
    pub(crate) fn page(&mut self, rows: &Rows) {
        let Some(cursor) = self.top.or(self.rest) else { return };
        let full = rows.count >= self.page_size;
        let met = cursor.until_seen && rows.oldest_was_seen;
        let below = match rows.oldest {
            Some((oldest, at_oldest)) => Cursor {
                upto: Some(oldest),
                skip: at_oldest + if cursor.upto == Some(oldest) { cursor.skip } else { 0 },
                ..cursor
            },
            // Not a single row makes sense: past them.
            None => Cursor { skip: cursor.skip + rows.count, ..cursor },
        };
        let next = (full && !met).then_some(below);
        if self.top.is_some() {
            self.top = next;
            self.bottom = (full && met).then_some(below);
        } else {
            self.rest = next;
        }
        self.page_size = (self.page_size * 2).min(PAGE);
    }

    /// Asks for fewer records, since the page was too large; passes over a record that is too large by itself, and
    /// returns true then.
    pub(crate) fn too_large(&mut self) -> bool {
        if self.page_size > 1 {
            self.page_size /= 2;
            return false;
        }
        if let Some(cursor) = self.top.as_mut().or(self.rest.as_mut()) {
            cursor.skip += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of records with these starts, newest first, of which those in `seen` were seen.
    fn rows(starts: impl IntoIterator<Item = u64>, seen: &[u64]) -> Rows {
        let mut rows = Rows::default();
        for start in starts {
            rows.count += 1;
            rows.add(start, seen.contains(&start));
        }
        rows
    }

    fn full(newest: u64) -> Rows {
        rows((0..PAGE as u64).map(|n| newest - n), &[])
    }

    fn at(walk: &Walk) -> Option<(Option<u64>, usize)> {
        walk.next().map(|page| (page.upto, page.skip))
    }

    #[test]
    fn reading_from_the_top_ends_with_a_short_page() {
        let mut walk = Walk::new();
        assert_eq!(at(&walk), None);
        walk.begin();
        assert_eq!(at(&walk), Some((None, 0)));
        walk.page(&full(1000));
        assert_eq!(at(&walk), Some((Some(801), 1)));
        walk.page(&rows([801, 800], &[]));
        assert!(!walk.is_unfinished() && !walk.ends_at_seen());
        walk.begin();
        walk.page(&rows([802, 801], &[801]));
        assert!(!walk.is_unfinished() && !walk.ends_at_seen(), "nothing is below a short page");
    }

    #[test]
    fn a_page_of_which_no_row_makes_sense_is_passed_over() {
        let mut walk = Walk::new();
        walk.begin();
        for pages in 1..=2 {
            walk.page(&Rows { count: PAGE, ..Rows::default() });
            assert_eq!(at(&walk), Some((None, pages * PAGE)));
        }
        assert!(!walk.ends_at_seen());
    }

    #[test]
    fn records_of_one_millisecond_are_passed_by_their_number() {
        let mut walk = Walk::new();
        walk.begin();
        walk.page(&rows([7; PAGE], &[]));
        assert_eq!(at(&walk), Some((Some(7), PAGE)));
        walk.page(&rows([7; PAGE], &[]));
        assert_eq!(at(&walk), Some((Some(7), 2 * PAGE)));
    }

    #[test]
    fn reading_from_the_top_ends_where_it_meets_what_was_seen_and_goes_on_below_on_request() {
        let mut walk = Walk::new();
        walk.begin();
        walk.page(&rows((801..=1000).rev(), &[801, 802]));
        assert!(walk.ends_at_seen());
        walk.read_below();
        assert_eq!(at(&walk), Some((Some(801), 1)));
        // Below, what was seen ends nothing.
        walk.page(&rows((601..=800).rev(), &[601]));
        assert_eq!(at(&walk), Some((Some(601), 1)));
        walk.page(&rows([], &[]));
        assert!(!walk.is_unfinished());
    }

    #[test]
    fn a_new_look_begins_at_the_top_and_what_was_left_is_read_afterwards() {
        let mut walk = Walk::new();
        walk.begin();
        walk.page(&full(1000));
        walk.begin();
        assert_eq!(at(&walk), Some((None, 0)));
        walk.page(&rows((901..=1100).rev(), &[901]));
        assert_eq!(at(&walk), Some((Some(801), 1)), "the reading that was left");
        walk.page(&rows((602..=801).rev(), &[602]));
        assert_eq!(at(&walk), None, "it still ends where it meets what was seen");
    }

    #[test]
    fn two_places_that_were_left_become_the_upper_one_from_which_all_is_read() {
        let mut walk = Walk::new();
        for newest in [1000, 2000] {
            walk.begin();
            walk.page(&full(newest));
        }
        walk.begin();
        walk.page(&rows([], &[]));
        assert_eq!(at(&walk), Some((Some(1801), 1)));
        walk.page(&rows((1602..=1801).rev(), &[1602]));
        assert_eq!(at(&walk), Some((Some(1602), 1)), "what was seen ends nothing now");
    }

    #[test]
    fn where_all_is_to_be_read_from_the_top_no_other_reading_begins() {
        let mut walk = Walk::new();
        walk.read_all();
        walk.begin();
        walk.page(&rows((801..=1000).rev(), &[801]));
        assert_eq!(at(&walk), Some((Some(801), 1)));
    }

    #[test]
    fn large_records_are_asked_for_in_smaller_pages_and_one_that_is_too_large_is_passed_over() {
        let mut walk = Walk::new();
        walk.begin();
        let mut asked = Vec::new();
        while !walk.too_large() {
            asked.push(walk.next().unwrap().limit);
        }
        assert_eq!(asked, [100, 50, 25, 12, 6, 3, 1]);
        assert_eq!(at(&walk), Some((None, 1)));
        walk.page(&rows([5], &[]));
        assert_eq!(walk.next().unwrap(), PageRequest { upto: Some(5), skip: 1, limit: 2 });
    }
}
