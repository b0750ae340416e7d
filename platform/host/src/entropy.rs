//! Randomness.

/// Source of random bytes fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `out`. An operating system that cannot give randomness ends the process.
    fn fill(&self, out: &mut [u8]);

    /// Returns `N` fresh random bytes.
    fn bytes<const N: usize>(&self) -> [u8; N]
    where
        Self: Sized,
    {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

impl dyn Entropy + '_ {
    /// Returns `N` fresh random bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineEntropy;

impl Entropy for MachineEntropy {
    fn fill(&self, out: &mut [u8]) {
        if getrandom::fill(out).is_err() {
            // No randomness means no keys: nothing sensible can follow, unwinding included.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_entropy_does_not_repeat() {
        let (first, second): ([u8; 32], [u8; 32]) =
            (MachineEntropy.bytes(), MachineEntropy.bytes());
        assert_ne!(first, second);
    }
}
