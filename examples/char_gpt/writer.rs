//! Writing: one character after the other, each drawn from what the model expects.

use std::io::{Write, stdout};

use anyhow::{Result, anyhow};
use clap::Args;
use wgrad::data::Vocabulary;
use wgrad::nn::Module;
use wgrad::{Device, Generator, Tensor, no_grad};

use crate::common::args::{count, positive};
use crate::gpt::Gpt;

#[derive(Args)]
pub struct Writer {
    /// Characters to write in the end
    #[arg(long, default_value_t = 500)]
    sample: usize,

    /// What it begins with
    #[arg(long, default_value = "\n")]
    prompt: String,

    /// Below 1 it keeps to what is likely, above 1 it dares more
    #[arg(long, default_value_t = 0.8, value_parser = positive)]
    temperature: f64,

    /// Choose among so many of the likeliest characters
    #[arg(long, default_value_t = 40, value_parser = count)]
    top_k: usize,
}

impl Writer {
    /// Shows each character as soon as it is there.
    pub fn write(
        &self,
        model: &Gpt,
        vocabulary: &Vocabulary,
        context: usize,
        seed: u64,
        dev: &Device,
    ) -> Result<()> {
        let mut text = vocabulary.encode(&self.prompt).map_err(|unknown| {
            anyhow!("the text that was learned has no {unknown:?}, which the prompt has")
        })?;
        let chances = Generator::new(seed).uniform(self.sample);
        model.eval();
        print!("\n{}", self.prompt);
        for chance in chances {
            // A window of one size, so that there is one plan. What is behind the last character cannot be seen from there.
            let seen = &text[text.len().saturating_sub(context)..];
            let mut window = seen.to_vec();
            window.resize(context, 0);
            let logits = no_grad(|| model.forward(&Tensor::new(window, [1, context], dev)));
            let next = self.choose(&logits.select(1, seen.len() as i64 - 1).to_vec::<f32>()?, chance);
            text.push(next);
            print!("{}", vocabulary.decode(&[next]));
            stdout().flush()?;
        }
        println!("\n");
        Ok(())
    }

    /// A character, given a number from 0 to 1: softmax of the largest logits over the temperature.
    fn choose(&self, logits: &[f32], chance: f32) -> i32 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&i, &j| logits[j].total_cmp(&logits[i]));
        order.truncate(self.top_k);
        let best = f64::from(logits[order[0]]);
        let weight = |&i: &usize| ((f64::from(logits[i]) - best) / self.temperature).exp();
        let mut left = f64::from(chance) * order.iter().map(weight).sum::<f64>();
        let chosen = order.iter().find(|i| {
            left -= weight(i);
            left < 0.0
        });
        *chosen.unwrap_or(&order[0]) as i32
    }
}
