//! The structure of the library: which room may import which, and what is public. Both are read from the source, so
//! neither grows unnoticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The source files of the library, relative to `src`, without tests.
fn files() -> Vec<PathBuf> {
    fn all(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_owned();
            if path.is_dir() && name != "bin" {
                all(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && name != "tests.rs" {
                found.push(path);
            }
        }
    }
    let source = Path::new(ROOT).join("src");
    let mut found = Vec::new();
    all(&source, &mut found);
    let relative = |path: PathBuf| path.strip_prefix(&source).expect("in src").to_owned();
    let mut found: Vec<PathBuf> = found.into_iter().map(relative).collect();
    found.sort();
    found
}

/// A file's text without comments and without its tests, which are at its end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("src").join(file)).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a tree of imports: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in rest.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().expect("there is one").push(c);
            }
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(part)).map(|path| format!("{head}{path}")).collect()
}

/// The paths that follow `start` in a text, up to the end of the import or path.
fn after<'t>(text: &'t str, start: &'t str) -> impl Iterator<Item = Vec<String>> + 't {
    text.match_indices(start).map(move |(at, _)| {
        let rest = &text[at + start.len()..];
        if text[..at].trim_end().ends_with("use") || start.contains("use ") {
            paths(rest.split(';').next().unwrap_or_default())
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            vec![rest[..end].to_owned()]
        }
    })
}

/// The room of a file: the first part of its path.
fn room(file: &Path) -> String {
    file.iter().next().unwrap_or_default().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// For each room, the rooms that `ARCHITECTURE.md` lets it import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| room |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let may = cells[2].split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        (cells[1].to_owned(), may)
    });
    rows.collect()
}

#[test]
fn rooms_import_what_their_row_allows() {
    let table = table();
    let mut seen = BTreeSet::new();
    for file in files() {
        let from = room(&file);
        let may = table.get(&from).unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {from}"));
        let text = code(&file);
        for path in after(&text, "crate::").flatten() {
            let to = path.split("::").next().unwrap_or_default().to_owned();
            // `$crate` in a macro, or an item that lib.rs re-exports.
            assert!(
                table.contains_key(&to),
                "{} imports `{to}` through lib.rs: name its room",
                file.display()
            );
            assert!(to == from || may.contains(&to), "{} imports {to}: {from} may not", file.display());
            seen.insert((from.clone(), to));
        }
    }
    let unused = |(from, may): (&String, &BTreeSet<String>)| {
        let unused = may.iter().filter(|to| !seen.contains(&(from.clone(), (*to).clone())));
        unused.map(|to| format!("{from} to {to}")).collect::<Vec<_>>()
    };
    // lib.rs re-exports, with paths of its own. The command is another crate.
    let rows = table.iter().filter(|(from, _)| !["lib", "bin"].contains(&from.as_str()));
    let unused: Vec<String> = rows.flat_map(unused).collect();
    assert!(unused.is_empty(), "ARCHITECTURE.md allows what is not used: {unused:?}");
}

/// The file of a module path, as deep as files go. The rest of the path is an item in that file.
fn file_of(path: &[&str]) -> PathBuf {
    let source = Path::new(ROOT).join("src");
    let mut folder = PathBuf::new();
    for part in path {
        if source.join(&folder).join(part).is_dir() {
            folder.push(part);
        } else if source.join(&folder).join(format!("{part}.rs")).is_file() {
            return folder.join(format!("{part}.rs"));
        } else {
            break;
        }
    }
    if folder.as_os_str().is_empty() { "lib.rs".into() } else { folder.join("mod.rs") }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files() {
        let text = code(&file);
        let module = file.with_extension("");
        let module: Vec<&str> = module.iter().map(|part| part.to_str().expect("a name")).collect();
        let module = module.strip_suffix(&["mod"]).unwrap_or(&module);
        let above = &module[..module.len().saturating_sub(1)];
        let absolute = after(&text, "\nuse crate::").flatten().map(|path| (&[][..], path));
        let relative = after(&text, "\nuse super::").flatten().map(|path| (above, path));
        // For a `mod.rs`, the files in its folder.
        let own = file.ends_with("mod.rs").then_some(module);
        let inside = own.into_iter().flat_map(|own| {
            after(&text, "use ")
                .flatten()
                .filter(|path| !path.contains("crate::"))
                .map(move |path| (own, path))
        });
        for (base, path) in absolute.chain(relative).chain(inside) {
            let parts: Vec<&str> = base.iter().copied().chain(path.split("::").map(str::trim)).collect();
            let to = file_of(&parts);
            if to != file {
                arrows.entry(file.clone()).or_default().insert(to);
            }
        }
    }
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 200, "imports are read");
    // Drop every file that imports no other or that no other imports, until none is left to drop. The rest is in
    // cycles.
    loop {
        let before = arrows.len();
        let here: BTreeSet<PathBuf> = arrows.keys().cloned().collect();
        for to in arrows.values_mut() {
            to.retain(|to| here.contains(to));
        }
        let imported: BTreeSet<PathBuf> = arrows.values().flatten().cloned().collect();
        arrows.retain(|file, to| !to.is_empty() && imported.contains(file));
        if arrows.len() == before {
            break;
        }
    }
    assert!(arrows.is_empty(), "in circles: {arrows:#?}");
}

/// The lines of a file, each with the attributes above it.
fn with_attributes(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut attributes = String::new();
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[") || line.starts_with("///") {
            attributes += line;
            return None;
        }
        Some((line, std::mem::take(&mut attributes)))
    })
}

/// A variant more breaks nobody's code.
#[test]
fn public_enums_can_grow() {
    let mut enums = 0;
    for file in files() {
        let text = code(&file);
        for (line, attributes) in with_attributes(&text).filter(|(line, _)| line.starts_with("pub enum ")) {
            assert!(attributes.contains("#[non_exhaustive]"), "{}: {line}", file.display());
            enums += 1;
        }
    }
    assert!(enums >= 14, "enums are read: {enums}");
}

/// Nobody asks for a report and forgets to look at it, nor has to know what in it means that all is well.
#[test]
fn reports_are_used_and_say_whether_they_passed() {
    let reports = [
        ("verify", "VerifyReport"),
        ("gradient", "GradientReport"),
        ("self_test", "SelfTest"),
        ("measure", "Measurement"),
    ];
    for (file, report) in reports {
        let text = code(Path::new(&format!("check/{file}.rs")));
        let declared = format!("pub struct {report} {{");
        let attributes = with_attributes(&text).find(|(line, _)| *line == declared);
        let (_, attributes) = attributes.unwrap_or_else(|| panic!("{file}.rs has no {report}"));
        assert!(attributes.contains("#[must_use"), "{report} may go unused");
        assert!(attributes.contains("#[non_exhaustive]"), "{report} cannot grow");
        let (_, methods) = text.split_once(&format!("\nimpl {report} {{")).expect("it has methods");
        assert!(methods.contains("pub fn passed(&self) -> bool"), "{report} does not say whether it passed");
    }
}

/// The names that a file of a public module makes public.
fn public(file: &str) -> BTreeSet<String> {
    let text = code(Path::new(file));
    let items =
        ["struct", "enum", "trait", "fn", "const", "type", "mod"].map(|kind| format!("\npub {kind} "));
    let declared = items.iter().flat_map(|item| {
        after(&text, item).flatten().map(|name| name.split(':').next().unwrap_or_default().to_owned())
    });
    let handed_on = after(&text, "pub use ").flatten().map(|path| {
        let name = path.rsplit("::").next().unwrap_or_default().to_owned();
        name.split(" as ").last().unwrap_or_default().trim().to_owned()
    });
    declared.chain(handed_on).filter(|name| !name.is_empty()).collect()
}

/// What the library makes public, by module. A new public name is a decision: it is added here, and stays.
const PUBLIC: &[(&str, &str, &[&str])] = &[
    (
        "elemgrad",
        "lib.rs",
        &[
            "Args",
            "Arithmetic",
            "Choice",
            "Condition",
            "DType",
            "Element",
            "Error",
            "Expr",
            "IntoArgs",
            "IntoExpr",
            "Layout",
            "Op",
            "Output",
            "Outputs",
            "Pass",
            "Primitive",
            "Runner",
            "Traffic",
            "View",
            "broadcast",
            "check",
            "gpu",
            "half",
            "ops",
            "shader",
            "signature",
            "wgpu",
        ],
    ),
    (
        "elemgrad::check",
        "check/mod.rs",
        &[
            "Case",
            "Data",
            "Enclosure",
            "Extra",
            "GradientComparison",
            "GradientOptions",
            "GradientReport",
            "Inputs",
            "LeftOut",
            "Measurement",
            "Mismatch",
            "Prepared",
            "Probes",
            "Reason",
            "SelfTest",
            "SelfTestCase",
            "Shapes",
            "VerifyReport",
            "gradient_check",
            "measure",
            "probe",
            "self_test",
            "verify",
        ],
    ),
    ("elemgrad::gpu", "gpu/mod.rs", &["Bound", "Kernels", "Operand", "adapters", "describe", "is_software"]),
    (
        "elemgrad::ops",
        "ops/mod.rs",
        &[
            "activations",
            "all",
            "celu",
            "elu",
            "find",
            "geglu",
            "gelu",
            "gelu_tanh",
            "hard_sigmoid",
            "hard_swish",
            "hard_tanh",
            "heaviside_atan",
            "heaviside_boxcar",
            "heaviside_fast_sigmoid",
            "heaviside_super_spike",
            "leaky_relu",
            "log_sigmoid",
            "mish",
            "modulo",
            "mods",
            "prelu",
            "quick_gelu",
            "relu",
            "relu6",
            "selu",
            "sigmoid",
            "silu",
            "sinusoid",
            "snake",
            "softplus",
            "softsign",
            "spiky",
            "swiglu",
            "tanh_shrink",
            "threshold",
        ],
    ),
    ("elemgrad::shader", "shader/mod.rs", &["Access", "Binding", "Shader"]),
    (
        "elemgrad::signature",
        "signature/mod.rs",
        &["OutputKind", "Signature", "SignatureBuilder", "SignatureOutput"],
    ),
];

#[test]
fn what_is_public_is_listed() {
    let mut count = 0;
    for (module, file, names) in PUBLIC {
        let listed: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(public(file), listed, "{module}");
        // Ready-made ops do not count, nor do modules whose contents count.
        let uncounted: &[&str] = match *module {
            "elemgrad" => &["check", "gpu", "ops", "shader", "signature", "half", "wgpu"],
            "elemgrad::ops" => names,
            _ => &[],
        };
        count += names.iter().filter(|name| !uncounted.contains(name)).count();
    }
    assert!(count <= 60, "{count} names are public");
}
