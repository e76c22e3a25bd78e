//! The order of the kernels: each after those that write what it reads.

use rustc_hash::FxHashMap;

use super::{Access, Group};

/// Groups such that each follows those that write what it reads. They come newest first; a kernel that writes an older
/// item besides its own may have to move forward.
pub(super) fn in_order(mut groups: Vec<Group>) -> Vec<Group> {
    groups.reverse();
    let mut writer: FxHashMap<Access, usize> = FxHashMap::default();
    for (i, group) in groups.iter().enumerate() {
        writer.extend(group.writes.iter().map(|&access| (access, i)));
    }
    let mut order: Vec<usize> = Vec::new();
    let mut listed = vec![false; groups.len()];
    let mut stack: Vec<usize> = (0..groups.len()).rev().collect();
    let most = 2 * groups.len() + groups.iter().map(|group| group.reads.len()).sum::<usize>();
    while let Some(&i) = stack.last() {
        assert!(stack.len() <= most, "two kernels wait for one another");
        let before = stack.len();
        if !listed[i] {
            let needed = groups[i].reads.iter().filter_map(|access| writer.get(access).copied());
            // The dispatches of an operation follow one another.
            let before = i.checked_sub(1).filter(|&j| groups[j].item == groups[i].item);
            let needed = needed.chain(before);
            stack.extend(needed.filter(|&j| !listed[j] && j != i));
        }
        if stack.len() == before {
            stack.pop();
            if !std::mem::replace(&mut listed[i], true) {
                order.push(i);
            }
        }
    }
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order.into_iter().map(|i| groups[i].take().expect("listed once")).collect()
}
