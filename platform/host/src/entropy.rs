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
