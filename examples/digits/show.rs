//! The final output in the terminal: the confusion matrix, and digits drawn in grey levels.

use crate::data::{CLASSES, Digits, PIXELS};

/// Prints the confusion matrix.
pub fn confusion(digits: &Digits, said: &[i32]) {
    let mut counts = [[0; CLASSES]; CLASSES];
    for (&class, &said) in digits.classes.iter().zip(said) {
        counts[class as usize][said as usize] += 1;
    }
    println!("\nThe test digits (rows) and their predictions (columns):\n");
    let line = |cells: [String; CLASSES]| cells.map(|cell| format!("{cell:>4}")).concat();
    println!("     {}", line(std::array::from_fn(|said| said.to_string())));
    for (class, counts) in counts.iter().enumerate() {
        println!(
            "{class:>4} {}",
            line(counts.map(|count| if count == 0 { ".".into() } else { count.to_string() }))
        );
    }
}

/// Prints a few digits with correct predictions, and the wrong predictions with the highest probabilities.
pub fn drawings(digits: &Digits, said: &[i32], chance: &[f32]) {
    let (right, mut wrong): (Vec<_>, Vec<_>) = (0..said.len()).partition(|&i| said[i] == digits.classes[i]);
    wrong.sort_by(|&i, &j| chance[j].total_cmp(&chance[i]));
    let caption = |i: usize| match digits.classes[i] {
        class if class == said[i] => format!("{class}, sure {:.0}%", 100.0 * chance[i]),
        class => format!("{class}: \"{}\", sure {:.0}%", said[i], 100.0 * chance[i]),
    };
    println!("\n{} were read rightly, such as", right.len());
    rows(digits, &right[..right.len().min(ROW)], caption);
    if !wrong.is_empty() {
        println!("\n{} were not; the network was surest of these:", wrong.len());
        rows(digits, &wrong[..wrong.len().min(2 * ROW)], caption);
    }
    println!();
}

/// The number of digits side by side.
const ROW: usize = 4;

fn rows(digits: &Digits, which: &[usize], caption: impl Fn(usize) -> String) {
    for row in which.chunks(ROW) {
        println!();
        for y in 0..8 {
            println!("  {}", row.iter().map(|&i| scanline(digits, i, y)).collect::<Vec<_>>().join("    "));
        }
        println!(
            "  {}",
            row.iter().map(|&i| format!("{:<16}", caption(i))).collect::<Vec<_>>().join("    ").trim_end()
        );
    }
}

/// One row of a digit's pixels. Each pixel is two characters wide, so that it is about square.
fn scanline(digits: &Digits, i: usize, y: usize) -> String {
    const SHADES: &[u8] = b" .:-=+*#%@";
    let pixels = &digits.pixels[i * PIXELS + y * 8..][..8];
    let shade = |&grey: &f32| char::from(SHADES[(grey * (SHADES.len() - 1) as f32).round() as usize]);
    pixels.iter().map(shade).flat_map(|shade| [shade, shade]).collect()
}
