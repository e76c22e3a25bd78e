//! The WGSL of a kernel: a concatenation of texts whose hooks are replaced by other texts.
//!
//! A hook is the text between the lines `// hook NAME` and `// end NAME`. In a shader file it is the simplest variant,
//! so that the file is valid WGSL; a kernel replaces this text. Hooks are for variations that WGSL cannot express
//! itself: types, declarations, generated code, and constants that are array lengths or bounds of loops to unroll. All
//! other numbers are `override`s.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use smallvec::SmallVec;

/// Functions that every kernel may call.
const COMMON: &str =
    concat!(include_str!("../../shaders/common.wgsl"), include_str!("../../shaders/math.wgsl"));

/// The inputs of entry points, without and with subgroups.
const WORKGROUP: &str = include_str!("../../shaders/workgroup.wgsl");
const WORKGROUP_SUBGROUPS: &str = include_str!("../../shaders/workgroup_subgroups.wgsl");

/// The source of a kernel before rendering. Copying and comparing a `ShaderSource` is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShaderSource {
    /// The texts in order; the last text has the entry point.
    texts: SmallVec<[Cow<'static, str>; 2]>,
    /// The names of hooks and their replacement texts, in the order of replacement.
    fills: SmallVec<[(&'static str, Cow<'static, str>); 4]>,
}

impl ShaderSource {
    pub fn new(text: impl Into<Cow<'static, str>>) -> ShaderSource {
        ShaderSource { texts: SmallVec::from_iter([text.into()]), fills: SmallVec::new() }
    }

    /// Prepends a text that several kernels share.
    pub fn with_prelude(mut self, prelude: &'static str) -> ShaderSource {
        self.texts.insert(0, prelude.into());
        self
    }

    /// Prepends the declarations of entry-point inputs.
    pub fn with_workgroup(self, subgroups: bool) -> ShaderSource {
        let source = self.with_prelude(WORKGROUP);
        if subgroups { source.variant(WORKGROUP_SUBGROUPS) } else { source }
    }

    /// Replaces the text of a hook.
    pub fn fill(mut self, hook: &'static str, text: impl Into<Cow<'static, str>>) -> ShaderSource {
        self.fills.push((hook, text.into()));
        self
    }

    /// Fills a hook with constants of type u32.
    pub fn constants(self, hook: &'static str, values: &[(&str, usize)]) -> ShaderSource {
        let mut text = String::new();
        for (name, value) in values {
            writeln!(text, "const {name}: u32 = {value}u;").expect("a string takes text");
        }
        self.fill(hook, text)
    }

    /// Replaces the text of each hook in `file` by the text in `file`.
    pub fn variant(mut self, file: &'static str) -> ShaderSource {
        let names = file.lines().filter_map(|line| line.strip_prefix("// hook "));
        self.fills.extend(names.map(|name| (name, file[hook(file, name)].into())));
        self
    }

    /// Renders the whole program.
    pub fn render(&self) -> String {
        let mut text = String::from(COMMON);
        text.push('\n');
        text + &self.render_without_common()
    }

    /// Renders the program without the common functions.
    pub fn render_without_common(&self) -> String {
        let mut text = self.texts.join("\n");
        for (name, fill) in &self.fills {
            text.replace_range(hook(&text, name), fill);
        }
        text
    }
}

/// Returns the range of a hook's lines in the text.
pub(crate) fn hook(text: &str, name: &str) -> Range<usize> {
    let line = |marker: String| {
        let mut found = text.match_indices(&marker).map(|(at, _)| at);
        let at = found.next().unwrap_or_else(|| panic!("a shader has no line {marker:?}"));
        assert!(found.next().is_none(), "a shader has two lines {marker:?}");
        // The range of the marker's line, including the indentation.
        text[..at].rfind('\n').map_or(0, |end| end + 1)..at + marker.len()
    };
    let (start, end) = (line(format!("// hook {name}\n")), line(format!("// end {name}\n")));
    assert!(start.end <= end.start, "the hook {name} of a shader ends before it begins");
    start.end..end.start
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "a\n// hook x\nb\n    // hook inner\n    c\n    // end inner\n// end x\nd\n";

    #[test]
    fn a_hook_has_what_it_is_filled_with_or_what_the_file_has() {
        let file = ShaderSource::new(FILE);
        assert_eq!(file.render_without_common(), FILE);
        let filled = file.clone().fill("x", "e\n");
        assert_eq!(filled.render_without_common(), "a\n// hook x\ne\n// end x\nd\n");
        let inner = file.clone().fill("inner", "f\n").render_without_common();
        assert_eq!(inner, FILE.replace("    c\n", "f\n"));
        assert_eq!(&FILE[hook(FILE, "inner")], "    c\n");
        let constants = file.constants("x", &[("N", 3), ("M", 4)]).render_without_common();
        assert_eq!(constants, "a\n// hook x\nconst N: u32 = 3u;\nconst M: u32 = 4u;\n// end x\nd\n");
    }

    /// Hooks in an inserted text and in a prelude can be filled too.
    #[test]
    fn a_variant_fills_the_hooks_that_it_has() {
        let variant = "// About it.\n\n// hook x\ng\n    // hook other\n    h\n    // end other\n// end x\n";
        let source = ShaderSource::new("body\n").with_prelude(FILE);
        let text = source.clone().variant(variant).fill("other", "i\n").render_without_common();
        let filled = "// hook x\ng\n    // hook other\ni\n    // end other\n// end x\n";
        assert_eq!(text, format!("a\n{filled}d\n\nbody\n"));
        assert!(source.render().starts_with(COMMON));
        assert!(source.render().ends_with(&source.render_without_common()));
    }

    #[test]
    #[should_panic = "no line \"// hook y\\n\""]
    fn an_unknown_hook_panics() {
        ShaderSource::new(FILE).fill("y", "").render();
    }

    #[test]
    #[should_panic = "no line \"// end x\\n\""]
    fn a_hook_without_an_end_panics() {
        ShaderSource::new("// hook x\n").fill("x", "").render();
    }

    #[test]
    #[should_panic = "two lines \"// hook x\\n\""]
    fn a_hook_that_two_texts_have_panics() {
        ShaderSource::new(FILE).with_prelude(FILE).fill("x", "").render();
    }

    #[test]
    #[should_panic = "ends before it begins"]
    fn a_hook_that_ends_before_it_begins_panics() {
        ShaderSource::new("// end x\n// hook x\n").fill("x", "").render();
    }
}
