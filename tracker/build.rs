//! Builds the web site into the binary: writes a table of the files of `web/dist` for `src/site.rs`.
//!
//! `CARDUME_WEB_DIST` names another directory. Without the built site (a plain `cargo build` of the tracker alone) the
//! table is empty, and the tracker serves a page that says how to build it. Cargo looks again when that variable
//! changes, or, once the site is there, when its files do: `cargo xtask build` sets it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CARDUME_WEB_DIST");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = env::var_os("CARDUME_WEB_DIST").map_or_else(|| here.join("../web/dist"), PathBuf::from);
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        collect(&dist.canonicalize()?, "", &mut files)?;
    }
    files.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("site.rs"), table(&files, &out)?)
}

/// The table, over copies of the files: a build of the site that runs beside ours may replace the originals.
fn table(files: &[(String, PathBuf)], out: &Path) -> io::Result<String> {
    let mut table = String::from("static FILES: &[(&str, &[u8])] = &[\n");
    for (index, (name, path)) in files.iter().enumerate() {
        let copy = out.join(format!("site-{index}"));
        fs::copy(path, &copy)?;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "    ({name:?}, include_bytes!({:?})),", copy.display().to_string());
    }
    table += "];\n";
    Ok(table)
}

/// Names are relative to the site's root, with `/` between their parts.
fn collect(directory: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else if path.extension().is_none_or(|extension| extension != "map") {
            files.push((name, path));
        }
    }
    Ok(())
}
