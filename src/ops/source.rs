//! The source of an operation's program.

/// The program with the values of some constants. They size arrays, which an `override` cannot do.
pub(super) fn with_constants(source: &str, constants: &[(&str, usize)]) -> String {
    constants.iter().fold(source.to_owned(), |text, (name, value)| {
        let declared = format!("const {name}: u32 = ");
        let (head, rest) = text.split_once(&declared).expect("the program has the constant");
        let (_, tail) = rest.split_once(';').expect("its declaration has an end");
        format!("{head}{declared}{value}u;{tail}")
    })
}
