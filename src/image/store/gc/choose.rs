//! Which references go: a pure function of what is there, the policy and the time.

use super::report::{DropReason, GcPolicy};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// A reference as the choice sees it.
#[derive(Debug)]
pub struct Usage {
    pub used_at: Timestamp,
    /// Stays whatever the policy says.
    pub is_pinned: bool,
    /// Indexes into the sizes of what is stored.
    pub needs: BTreeSet<usize>,
}

/// How long a reference has not been used; nothing when the clock was set back.
fn unused(used_at: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(used_at).try_into().unwrap_or_default()
}

/// Drops what was not used for longer than the policy allows.
pub fn by_age(usages: &[Usage], policy: &GcPolicy, now: Timestamp) -> Vec<Option<DropReason>> {
    let too_old = |usage: &Usage| {
        let unused = unused(usage.used_at, now);
        let is_old = !usage.is_pinned && policy.max_unused.is_some_and(|max| unused > max);
        is_old.then_some(DropReason::Unused(unused))
    };
    usages.iter().map(too_old).collect()
}

/// Drops the least recently used of what is left until what the rest needs, and `always`, fits the budget.
/// A reference whose going frees nothing, because others need the same, stays.
pub fn by_size(
    usages: &[Usage],
    sizes: &[u64],
    always: &BTreeSet<usize>,
    policy: &GcPolicy,
    dropped: &mut [Option<DropReason>],
) {
    let Some(budget) = policy.max_bytes else { return };
    let needed = |dropped: &[Option<DropReason>]| {
        let kept = usages.iter().zip(dropped).filter(|(_, reason)| reason.is_none());
        let mut needed = always.clone();
        needed.extend(kept.flat_map(|(usage, _)| usage.needs.iter().copied()));
        needed
    };
    let bytes = |items: &BTreeSet<usize>| items.iter().map(|item| sizes[*item]).sum::<u64>();
    let mut oldest: Vec<usize> =
        (0..usages.len()).filter(|index| !usages[*index].is_pinned && dropped[*index].is_none()).collect();
    oldest.sort_by_key(|index| usages[*index].used_at);
    let mut tried = Vec::new();
    for index in oldest {
        if bytes(&needed(dropped)) <= budget {
            break;
        }
        dropped[index] = Some(DropReason::OverBudget);
        tried.push(index);
    }
    // The most recently used first: it has the best right to stay.
    for index in tried.into_iter().rev() {
        if usages[index].needs.is_subset(&needed(dropped)) {
            dropped[index] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn usage(second: i64, is_pinned: bool, needs: &[usize]) -> Usage {
        Usage { used_at: at(second), is_pinned, needs: needs.iter().copied().collect() }
    }

    fn policy(max_unused: Option<u64>, max_bytes: Option<u64>) -> GcPolicy {
        GcPolicy { max_unused: max_unused.map(Duration::from_secs), max_bytes }
    }

    fn sized(usages: &[Usage], sizes: &[u64], always: &[usize], budget: u64) -> Vec<bool> {
        let mut dropped = vec![None; usages.len()];
        by_size(usages, sizes, &always.iter().copied().collect(), &policy(None, Some(budget)), &mut dropped);
        dropped.iter().map(Option::is_some).collect()
    }

    #[test]
    fn what_was_not_used_for_too_long_goes() {
        let usages = [usage(100, false, &[]), usage(101, false, &[]), usage(0, true, &[]), usage(500, false, &[])];
        let reasons = by_age(&usages, &policy(Some(99), None), at(200));
        assert_eq!(reasons, [Some(DropReason::Unused(Duration::from_secs(100))), None, None, None]);
        assert_eq!(by_age(&usages, &policy(None, None), at(200)), [None; 4]);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_no_more_than_needed() {
        let usages = [usage(3, false, &[0]), usage(1, false, &[1]), usage(2, false, &[2])];
        assert_eq!(sized(&usages, &[10, 10, 10], &[], 30), [false, false, false]);
        assert_eq!(sized(&usages, &[10, 10, 10], &[], 29), [false, true, false]);
        assert_eq!(sized(&usages, &[10, 10, 10], &[], 10), [false, true, true]);
        assert_eq!(sized(&usages, &[10, 10, 10], &[], 0), [true, true, true]);
    }

    #[test]
    fn what_is_used_stays_and_counts() {
        let usages = [usage(1, true, &[0]), usage(2, false, &[1])];
        assert_eq!(sized(&usages, &[10, 10], &[], 5), [false, true]);
        // What a live execution needs counts, too.
        let usages = [usage(2, false, &[1])];
        assert_eq!(sized(&usages, &[10, 10], &[0], 15), [true]);
    }

    #[test]
    fn dropping_what_others_share_frees_nothing_and_is_not_done() {
        // Two names of one image, one of them old, and another image in between.
        let usages = [usage(1, false, &[0]), usage(3, false, &[0]), usage(2, false, &[1])];
        assert_eq!(sized(&usages, &[10, 10], &[], 10), [false, false, true]);
        // Only both names together make room.
        let usages = [usage(1, false, &[0]), usage(2, false, &[0]), usage(3, false, &[1])];
        assert_eq!(sized(&usages, &[10, 10], &[], 10), [true, true, false]);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_or_nothing_more_can_go(
            usages in prop::collection::vec((0..50_i64, any::<bool>(), prop::collection::btree_set(0..8_usize, 0..5)), 0..8),
            sizes in prop::collection::vec(0..100_u64, 8),
            budget in 0..400_u64,
        ) {
            let usages: Vec<Usage> = usages
                .into_iter()
                .map(|(second, is_pinned, needs)| Usage { used_at: at(second), is_pinned, needs })
                .collect();
            let mut dropped = vec![None; usages.len()];
            by_size(&usages, &sizes, &BTreeSet::new(), &policy(None, Some(budget)), &mut dropped);
            let kept: Vec<&Usage> =
                usages.iter().zip(&dropped).filter(|(_, reason)| reason.is_none()).map(|(usage, _)| usage).collect();
            let needed: BTreeSet<usize> = kept.iter().flat_map(|usage| usage.needs.iter().copied()).collect();
            let bytes: u64 = needed.iter().map(|item| sizes[*item]).sum();
            let pinned: BTreeSet<usize> =
                usages.iter().filter(|usage| usage.is_pinned).flat_map(|usage| usage.needs.iter().copied()).collect();
            prop_assert!(bytes <= budget || needed == pinned);
            prop_assert!(usages.iter().zip(&dropped).all(|(usage, reason)| !usage.is_pinned || reason.is_none()));
        }
    }
}
