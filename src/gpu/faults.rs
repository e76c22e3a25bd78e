//! Indices out of range, which only the GPU sees.
//!
//! In: an operation and the line that called it; out: a number, its site, which the operation's kernel is given as a uniform.
//! A kernel that meets a bad index does `atomicMin(&fault, site)` on the word of its run. In: words, carried along by reads;
//! out: the fault, to the first read that comes after it and to the first of a value that depends on it. Must not know
//! which kernels index.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::lock;
use super::pool::Buffer;
use crate::error::Error;

/// A word while nothing is wrong.
const FINE: u32 = u32::MAX;

/// Runs that index and may wait for a read at a time.
const WORDS: u32 = 128;

type Site = (&'static str, &'static Location<'static>);

/// The words of the runs that index, and what became of them.
pub(super) struct Faults {
    words: wgpu::Buffer,
    /// Bytes from one word to the next: they are bound one at a time.
    stride: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    numbers: FxHashMap<Site, u32>,
    sites: Vec<Site>,
    /// Words that no run has, and whether a fault is still in them.
    free: Vec<(u32, bool)>,
    /// Runs whose word has not arrived.
    open: Vec<Arc<Watch>>,
    /// Runs whose word was a fault, while something depends on them.
    faulted: Vec<Weak<Watch>>,
    /// A fault that no read has told.
    news: Option<Site>,
}

/// A run whose kernels index: whether it met an index out of range.
pub(super) struct Watch {
    word: u32,
    outcome: OnceLock<Option<Site>>,
    told: AtomicBool,
}

/// The runs that a buffer's contents depend on, as far as a fault of theirs may still have to be told.
pub(super) type Watches = SmallVec<[Arc<Watch>; 1]>;

impl Watch {
    /// A fault is known and told, or there is none.
    fn is_settled(&self) -> bool {
        self.outcome.get().is_some_and(|site| site.is_none() || self.told.load(Ordering::Relaxed))
    }

    /// The fault, once.
    fn tell(&self) -> Option<Site> {
        let site = (*self.outcome.get()?)?;
        (!self.told.swap(true, Ordering::Relaxed)).then_some(site)
    }
}

impl Faults {
    /// The bytes of a word.
    pub const BYTES: u64 = 4;
    /// The words' id among the buffers of bind groups; the pool's ids start at 1.
    pub const ID: u64 = 0;

    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Faults {
        use wgpu::BufferUsages as Usage;
        let stride = device.limits().min_storage_buffer_offset_alignment;
        let words = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("error words"),
            size: u64::from(WORDS * stride),
            usage: Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&words, 0, &vec![0xff; words.size() as usize]);
        let free = (0..WORDS).map(|word| (word, false)).collect();
        Faults { words, stride, state: Mutex::new(State { free, ..State::default() }) }
    }

    /// The site of an operation called at a line: one number a pair, so that the table grows with the program's text only.
    pub fn site(&self, op: &'static str, at: &'static Location<'static>) -> u32 {
        let State { numbers, sites, .. } = &mut *lock(&self.state);
        *numbers.entry((op, at)).or_insert_with(|| {
            sites.push((op, at));
            sites.len() as u32 - 1
        })
    }

    /// Whether every word waits for a read.
    pub fn is_full(&self) -> bool {
        lock(&self.state).free.is_empty()
    }

    /// A word for a run whose kernels index. Its first submission must follow.
    pub fn watch(&self, queue: &wgpu::Queue) -> Arc<Watch> {
        let mut state = lock(&self.state);
        let (word, faulty) = state.free.pop().expect("a run waits until there is one");
        if faulty {
            queue.write_buffer(&self.words, self.offset(word).into(), &FINE.to_le_bytes());
        }
        let watch = Arc::new(Watch { word, outcome: OnceLock::new(), told: AtomicBool::new(false) });
        state.open.push(Arc::clone(&watch));
        watch
    }

    /// A word's place, bound by kernels at the offset of their run's.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.words, offset: 0, size: wgpu::BufferSize::new(Self::BYTES) }
    }

    pub fn offset_of(&self, watch: &Watch) -> u32 {
        self.offset(watch.word)
    }

    fn offset(&self, word: u32) -> u32 {
        word * self.stride
    }

    /// Whether no buffer depends on a run of which something may still have to be told.
    pub fn are_settled(&self) -> bool {
        let state = &mut *lock(&self.state);
        state.faulted.retain(|watch| watch.upgrade().is_some_and(|watch| !watch.is_settled()));
        state.open.is_empty() && state.faulted.is_empty()
    }

    /// What a dispatch writes depends on the runs that what it binds depends on, and on its own if it indexes.
    pub fn pass_on<'a>(
        &self,
        bound: impl Iterator<Item = &'a Buffer>,
        written: impl Iterator<Item = &'a Buffer>,
        own: Option<&Arc<Watch>>,
    ) {
        let mut watches: Watches = own.cloned().into_iter().collect();
        for buffer in bound {
            for watch in lock(&buffer.watches).iter().filter(|watch| !watch.is_settled()) {
                if !watches.iter().any(|other| Arc::ptr_eq(other, watch)) {
                    watches.push(Arc::clone(watch));
                }
            }
        }
        written.for_each(|buffer| lock(&buffer.watches).clone_from(&watches));
    }

    /// The runs whose words have not arrived. Submits must be locked out until the words are on their way.
    pub fn open(&self) -> Vec<Arc<Watch>> {
        lock(&self.state).open.clone()
    }

    /// Records that the words are copied to `target`, one behind the other from `at` on.
    pub fn record(
        &self,
        watches: &[Arc<Watch>],
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::Buffer,
        at: u64,
    ) {
        for (i, watch) in (0..).zip(watches) {
            let from = self.offset_of(watch).into();
            encoder.copy_buffer_to_buffer(&self.words, from, target, at + i * Self::BYTES, Self::BYTES);
        }
    }

    /// Takes note of a word that arrived. Of several copies the first counts: a word is free for another run after it.
    pub fn arrive(&self, watch: &Arc<Watch>, word: u32) {
        let state = &mut *lock(&self.state);
        let site = state.sites.get(word as usize).copied();
        if watch.outcome.set(site).is_err() {
            return;
        }
        state.open.retain(|other| !Arc::ptr_eq(other, watch));
        state.free.push((watch.word, site.is_some()));
        if site.is_some() {
            state.news = state.news.or(site);
            state.faulted.push(Arc::downgrade(watch));
        }
    }

    /// What a read of these buffers must say: the fault of a run that they depend on, or else one that no read has told.
    pub fn check<'a>(&self, buffers: impl Iterator<Item = &'a Buffer>) -> Result<(), Error> {
        let news = lock(&self.state).news.take();
        let mut own =
            buffers.filter_map(|buffer| lock(&buffer.watches).iter().find_map(|watch| watch.tell()));
        match own.next().or(news) {
            Some((op, at)) => Err(Error::Index { op, at }),
            None => Ok(()),
        }
    }
}
