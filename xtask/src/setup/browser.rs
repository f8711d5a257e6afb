//! What only the tests need: a Chromium, its driver, ffmpeg as the sender, fonts for its clock, and NATS for several nodes.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::debian;
use crate::{place, task::Task};

const CHROMIUM_NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const CHROMIUM_ON_MACOS: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
/// The font of the clock that ffmpeg burns into the picture, and what the pages are drawn with.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf";

/// Programs the tests start, found on the machine.
pub(crate) struct TestTools {
    chromium: PathBuf,
    chromedriver: PathBuf,
    ffmpeg: PathBuf,
}

impl TestTools {
    /// From `CHROMIUM`, `CHROMEDRIVER` and `FFMPEG`, from the PATH, or installed.
    pub(crate) fn find_or_install() -> Result<Self> {
        let missing = Self::missing();
        if !missing.is_empty() {
            debian::install(&missing, "by the tests")?;
        }
        Ok(Self {
            chromium: chromium().context("Chromium was not found; set CHROMIUM to its path")?,
            chromedriver: chromedriver()
                .context("chromedriver was not found; set CHROMEDRIVER to its path")?,
            ffmpeg: ffmpeg().context("ffmpeg was not found; set FFMPEG to its path")?,
        })
    }

    /// `task` with the variables that name these programs.
    pub(crate) fn named_in(&self, task: Task) -> Task {
        task.env("CHROMIUM", &self.chromium)
            .env("CHROMEDRIVER", &self.chromedriver)
            .env("FFMPEG", &self.ffmpeg)
    }

    /// Debian's packages for what is not there.
    fn missing() -> Vec<&'static str> {
        let has_font = !cfg!(target_os = "linux") || Path::new(FONT).is_file();
        [
            (chromium().is_some(), "chromium"),
            (chromedriver().is_some(), "chromium-driver"),
            (ffmpeg().is_some(), "ffmpeg"),
            (has_font, "fonts-dejavu-core"),
            (place::program(&["nats-server"]).is_some(), "nats-server"),
        ]
        .into_iter()
        .filter_map(|(is_there, package)| (!is_there).then_some(package))
        .collect()
    }
}

fn chromium() -> Option<PathBuf> {
    let on_macos = || Some(PathBuf::from(CHROMIUM_ON_MACOS)).filter(|path| path.is_file());
    find("CHROMIUM", &CHROMIUM_NAMES).or_else(on_macos)
}

fn chromedriver() -> Option<PathBuf> {
    find("CHROMEDRIVER", &["chromedriver"])
}

fn ffmpeg() -> Option<PathBuf> {
    find("FFMPEG", &["ffmpeg"])
}

fn find(variable: &str, names: &[&str]) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file()).or_else(|| place::program(names))
}
