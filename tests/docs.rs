//! What the documents say is so: every command runs, every output that a block shows is compared, every link leads
//! somewhere, and every option, variable, file and variant that is named exists.
//!
//! The first word behind the fence is the block's language, the others say how it is run:
//!
//! | language | what is done with it |
//! |---|---|
//! | `rust` | a doc test: `src/lib.rs` includes the document |
//! | `sh` | each line is a command, which succeeds |
//! | `console` | a line with `$ ` is a command; the lines below it are its output, if there are any |
//! | `wgsl` | is compiled, and is the file of the second word for the commands that follow |
//! | any with `from=FILE` | stands in that file, word for word |
//! | `text`, `mermaid` | a picture |
//!
//! | word | what it does |
//! |---|---|
//! | `slow` | the block takes more than 10 s: it is run with `ELEMGRAD_DOCS=all` only |
//! | `numpy` | the block needs NumPy: without it, it is ignored, or fails with `ELEMGRAD_DOCS=all` |
//! | `lavapipe` | the block sees adapters; others see none, so that `auto` takes the CPU |
//! | `project` | the block is run in a project beside the clone |
//! | `ci` | the commands are those of `.ci`, where they are looked up, and not run here |
//! | `by-hand` | the commands are not run: [`BY_HAND`] has the reasons |
//!
//! In an output `[..]` stands for anything within a line, and a line `...` for any lines. `# exit code 2` behind a
//! command is what it exits with instead of 0. Commands of a document share a folder, in which they are run one after
//! the other.
//!
//! `cargo run --release` runs what this test was built with, unless all is run: then it is as it is written.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use libtest_mimic::{Arguments, Failed, Trial};

/// The documents, from the root.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/guide.md",
    "docs/formulas.md",
    "docs/how-it-works.md",
    "docs/measured.md",
    "docs/verified.md",
];

/// Commands that no test runs, and why. What no document has any more is an error too.
const BY_HAND: [(&str, &str); 5] = [
    ("python benches/peers/peers.py --elements 16777216", "needs PyTorch and numexpr"),
    ("python benches/peers/functions.py --rounds 2", "needs PyTorch and numexpr"),
    ("elemgrad shader mod --pass fused --access vec4 > k.wgsl", "is for the next one"),
    ("python benches/isa/sass.py k.wgsl", "needs NVIDIA's compiler and triton"),
    ("ELEMGRAD_BENCH_SOFTWARE=1 cargo bench --bench arithmetic", "takes minutes; .ci runs it with --quick"),
];

/// The longest line, in characters.
const WIDTH: usize = 120;
/// The most lines of the README.
const README: usize = 200;

const LANGUAGES: [&str; 6] = ["rust", "sh", "console", "wgsl", "text", "mermaid"];
const WORDS: [&str; 6] = ["slow", "numpy", "lavapipe", "project", "ci", "by-hand"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("every block is checked", every_block_is_checked),
        Trial::test("commands by hand are listed", commands_by_hand_are_listed),
        Trial::test("quotes are what they quote", quotes),
        Trial::test("links lead somewhere", links),
        Trial::test("lines are short", lines),
        Trial::test("the README is short", readme_is_short),
        Trial::test("versions are those of Cargo.toml", versions),
        Trial::test("names exist", names),
        Trial::test("every option is in the guide", options),
        Trial::test("every variable is in the guide", variables),
    ];
    if cfg!(unix) {
        for document in DOCUMENTS.map(Document::read) {
            let skipped = document.blocks.iter().filter_map(|block| Some((block, block.skipped()?)));
            trials.extend(skipped.map(|(block, why)| {
                let name = format!("{}:{}: {why}", document.name, block.line);
                Trial::test(name, || Ok(())).with_ignored_flag(true)
            }));
            trials.push(Trial::test(format!("commands of {}", document.name), move || commands(&document)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether slow blocks are run too, and commands as they are written.
fn all() -> bool {
    env::var("ELEMGRAD_DOCS").is_ok_and(|value| value == "all")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Document {
    /// Its path from the root.
    name: &'static str,
    lines: Vec<String>,
    blocks: Vec<Block>,
}

/// A fenced block.
struct Block {
    /// Where its fence is, from 1.
    line: usize,
    language: String,
    words: Vec<String>,
    text: Vec<String>,
}

impl Document {
    fn read(name: &'static str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (line, text) in (1..).zip(&lines) {
            match (text.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(words), None) => {
                    let mut words = words.split([' ', ',']).filter(|w| !w.is_empty()).map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    open = Some(Block { line, language, words: words.collect(), text: Vec::new() });
                }
                (None, Some(block)) => block.text.push(text.clone()),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a block has no end");
        Self { name, lines, blocks }
    }

    /// The lines outside of blocks, numbered from 1.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut inside = false;
        (1..).zip(&self.lines).filter_map(move |(line, text)| {
            let fence = text.trim_start().starts_with("```");
            inside ^= fence;
            (!inside && !fence).then_some((line, text.as_str()))
        })
    }

    /// What stands between backticks, outside of blocks.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |code| (line, code)))
    }
}

impl Block {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    fn is_shell(&self) -> bool {
        ["sh", "console"].contains(&&*self.language)
    }

    /// Why its commands are not run.
    fn skipped(&self) -> Option<&'static str> {
        if !self.is_shell() {
            return None;
        }
        match self {
            _ if self.has("ci") => Some("is run by .ci"),
            _ if self.has("by-hand") => Some("is run by hand"),
            _ if self.has("slow") && !all() => Some("is slow: ELEMGRAD_DOCS=all runs it"),
            _ if self.has("numpy") && !all() && !has_numpy() => Some("needs NumPy"),
            _ => None,
        }
    }

    /// Each command, where it is, and the output that is shown for it.
    fn commands(&self) -> Vec<Shown> {
        let mut commands: Vec<Shown> = Vec::new();
        for (line, text) in (self.line + 1..).zip(&self.text) {
            let command = match &*self.language {
                "sh" => Some(text.as_str()).filter(|text| !text.trim().is_empty() && !text.starts_with('#')),
                _ => text.strip_prefix("$ "),
            };
            match (command, commands.last_mut()) {
                (Some(text), _) => commands.push(Shown::new(line, text)),
                (None, Some(last)) if self.language == "console" => last.output.push(text.clone()),
                _ => assert!(text.trim().is_empty(), "line {line}: output without a command"),
            }
        }
        commands
    }
}

struct Shown {
    line: usize,
    command: String,
    exit_code: i32,
    output: Vec<String>,
}

impl Shown {
    fn new(line: usize, text: &str) -> Self {
        let (command, code) = text.split_once(" # exit code ").unwrap_or((text, "0"));
        let exit_code = code.trim().parse().expect("a number");
        Self { line, command: command.trim().to_owned(), exit_code, output: Vec::new() }
    }
}

fn has_numpy() -> bool {
    let script = format!("{PRELUDE}\npython -c 'import numpy'");
    let status = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What commands find in their shell.
const PRELUDE: &str = r#"
command -v python > /dev/null || python() { python3 "$@"; }
cargo() {
    subcommand=$1
    shift
    case $subcommand in
        add) command "$CARGO" add --quiet --offline "$@"; return ;;
        install) (cd "$ROOT" && command "$CARGO" install --quiet "$@"); return ;;
    esac
    if [ -n "$AS_WRITTEN" ]; then
        command "$CARGO" "$subcommand" --quiet --manifest-path "$ROOT/Cargo.toml" "$@"
        return
    fi
    left=$#
    behind=
    while [ "$left" -gt 0 ]; do
        case $behind$1 in
            --release) ;;
            --) behind=-; set -- "$@" -- ;;
            *) set -- "$@" "$1" ;;
        esac
        shift
        left=$((left - 1))
    done
    command "$CARGO" "$subcommand" --quiet --manifest-path "$ROOT/Cargo.toml" $BUILT_WITH "$@"
}
"#;

/// Runs the commands of a document, one after the other.
fn commands(document: &Document) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut failures = String::new();
    for block in document.blocks.iter().filter(|block| block.skipped().is_none()) {
        let place = |line: usize| format!("{}:{line}", document.name);
        if block.language == "wgsl" && !block.words.is_empty() && from(block).is_none() {
            let file = &block.words[0];
            fs::write(folder.path().join(file), block.text.join("\n") + "\n")?;
            let check = Shown::new(block.line, &format!("elemgrad shader --wgsl {file} --functions"));
            if let Err(failure) = run(&check, block, folder.path()) {
                let _ = writeln!(failures, "{}: {failure}", place(block.line));
            }
        }
        if !block.is_shell() {
            continue;
        }
        for shown in block.commands() {
            let start = Instant::now();
            let result = run(&shown, block, folder.path());
            if all() {
                println!("{:6.1} s  {}: {}", start.elapsed().as_secs_f64(), place(shown.line), shown.command);
            }
            if let Err(failure) = result {
                let _ = writeln!(failures, "{}: {}\n{failure}", place(shown.line), shown.command);
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
}

fn run(shown: &Shown, block: &Block, folder: &Path) -> Result<(), String> {
    let mut command = Command::new("sh");
    let script = format!("{PRELUDE}\n{{ {}\n}} 2>&1", shown.command);
    command.args(["-c", &script]).stdin(Stdio::null()).current_dir(folder);
    // The built command first; no adapter, so that `auto` takes the CPU on every machine.
    let binary = Path::new(env!("CARGO_BIN_EXE_elemgrad"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut paths: Vec<PathBuf> = binary.parent().map(Path::to_owned).into_iter().collect();
    paths.extend(env::split_paths(&path));
    command.env("PATH", env::join_paths(paths).map_err(|e| e.to_string())?);
    command.env_remove("WGPU_ADAPTER_NAME").env("WGPU_BACKEND", "vulkan");
    if !block.has("lavapipe") {
        command.env("VK_ICD_FILENAMES", "/none").env("VK_DRIVER_FILES", "/none");
    }
    let target = binary.ancestors().nth(2).unwrap_or(folder);
    let profile = binary.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let profile = match profile {
        Some("debug") | None => String::new(),
        Some(profile) => format!(" --profile {profile}"),
    };
    command
        .env("ROOT", root())
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INSTALL_ROOT", folder.join("installed"))
        .env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .env("BUILT_WITH", format!("--features cli{profile}"))
        .env("AS_WRITTEN", if all() { "1" } else { "" })
        // A `cargo test` in a document runs the fast blocks.
        .env_remove("ELEMGRAD_DOCS");
    if block.has("project") {
        let project = folder.join("yours");
        let made = || -> std::io::Result<()> {
            fs::create_dir_all(project.join("src"))?;
            fs::write(project.join("src/lib.rs"), "")?;
            let manifest = "[package]\nname = \"yours\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
            fs::write(project.join("Cargo.toml"), manifest)?;
            #[cfg(unix)]
            if !folder.join("elemgrad").exists() {
                std::os::unix::fs::symlink(root(), folder.join("elemgrad"))?;
            }
            Ok(())
        };
        made().map_err(|e| e.to_string())?;
        command.current_dir(&project);
    }
    let output = command.output().map_err(|e| format!("no shell: {e}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() != Some(shown.exit_code) {
        return Err(format!(
            "ended with {}, not with exit code {}:\n{printed}",
            output.status, shown.exit_code
        ));
    }
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = trimmed(&shown.output);
    if expected.is_empty() || matches(&expected, trimmed(&printed).as_slice()) {
        return Ok(());
    }
    Err(format!("should print\n{}\nbut prints\n{}", expected.join("\n"), printed.join("\n")))
}

/// Without empty lines at the end.
fn trimmed<T: AsRef<str>>(lines: &[T]) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.iter().map(|line| line.as_ref().trim_end()).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines
}

/// Whether lines are as expected, `...` being any lines.
fn matches(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        ([], printed) => printed.is_empty(),
        (["...", rest @ ..], printed) => (0..=printed.len()).any(|skip| matches(rest, &printed[skip..])),
        ([first, rest @ ..], [line, lines @ ..]) => line_matches(first, line) && matches(rest, lines),
        (_, []) => false,
    }
}

/// Whether a line is as expected, `[..]` being anything.
fn line_matches(expected: &str, line: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| line_matches(after, &rest[at..]))
        }),
    }
}

/// The file that a block quotes.
fn from(block: &Block) -> Option<&str> {
    block.words.iter().find_map(|word| word.strip_prefix("from="))
}

/// Collects what is wrong, a line each.
fn verdict(wrong: impl IntoIterator<Item = String>) -> Result<(), Failed> {
    let wrong: Vec<String> = wrong.into_iter().collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn source(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn every_block_is_checked() -> Result<(), Failed> {
    let library = source("src/lib.rs");
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        let mut say = |block: &Block, what: &str| {
            wrong.push(format!("{}:{}: {what}", document.name, block.line));
        };
        for block in &document.blocks {
            if !LANGUAGES.contains(&&*block.language) {
                say(block, &format!("nothing checks the language '{}'", block.language));
            }
            for word in block.words.iter().filter(|_| block.is_shell()) {
                if !WORDS.contains(&&**word) {
                    say(block, &format!("'{word}' is no word for a block of commands"));
                }
            }
            let quotes = from(block).is_some();
            match &*block.language {
                "rust" if quotes => {}
                "rust" => {
                    if !block.words.is_empty() {
                        say(block, "a block of Rust is compiled and run: it has no further words");
                    }
                    if !library.contains(&format!("include_str!(\"../{}\")", document.name)) {
                        say(block, "src/lib.rs does not include the document, so this is no doc test");
                    }
                }
                "wgsl" if block.words.is_empty() => say(block, "a block of WGSL is a file, or from one"),
                "sh" | "console" if block.commands().is_empty() => say(block, "there is no command"),
                "text" if block.text.iter().any(|line| line.starts_with("$ ")) => {
                    say(block, "commands are in blocks of sh or console");
                }
                _ => {}
            }
            if block.has("ci") {
                let scripts = source(".ci/run") + &source(".ci/exhaustive");
                for shown in block.commands() {
                    let is_script = shown.command.starts_with(".ci/") && root().join(&shown.command).exists();
                    if !is_script && !scripts.contains(&shown.command) {
                        say(block, &format!("'{}' is not in .ci", shown.command));
                    }
                }
            }
        }
    }
    verdict(wrong)
}

fn commands_by_hand_are_listed() -> Result<(), Failed> {
    let documents = DOCUMENTS.map(Document::read);
    let blocks = documents.iter().flat_map(|document| &document.blocks);
    let by_hand = blocks.filter(|block| block.has("by-hand")).flat_map(Block::commands);
    let shown: BTreeSet<String> = by_hand.map(|shown| shown.command).collect();
    let listed: BTreeSet<String> = BY_HAND.iter().map(|(command, _)| (*command).to_owned()).collect();
    let unknown = shown.difference(&listed).map(|command| format!("not in BY_HAND: {command}"));
    let stale = listed.difference(&shown).map(|command| format!("in no document: {command}"));
    verdict(unknown.chain(stale))
}

fn quotes() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        for block in &document.blocks {
            let Some(file) = from(block) else { continue };
            // Code that is indented in its file may be less so here.
            let bare = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
            if !bare(&source(file)).contains(&bare(&block.text.join("\n"))) {
                wrong.push(format!("{}:{}: this is not in {file}", document.name, block.line));
            }
        }
    }
    verdict(wrong)
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn links() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        let folder = Path::new(document.name).parent().unwrap_or(Path::new(""));
        for (line, text) in document.prose() {
            for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.starts_with("https://") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let path =
                    if file.is_empty() { root().join(document.name) } else { root().join(folder).join(file) };
                let anchors = || {
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect::<Vec<_>>()
                };
                if !path.exists() || !heading.is_empty() && !anchors().iter().any(|a| a == heading) {
                    wrong.push(format!("{}:{line}: nothing is at {target}", document.name));
                }
            }
        }
    }
    verdict(wrong)
}

fn lines() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        let mut generated = false;
        for (line, text) in (1..).zip(&document.lines) {
            generated = (generated || text == "<!-- blocks -->") && text != "<!-- /blocks -->";
            // An address cannot be broken.
            let address = text.contains("](https://") && text.starts_with('[');
            if text.chars().count() > WIDTH && !address && !generated {
                wrong.push(format!("{}:{line}: {} characters", document.name, text.chars().count()));
            }
            if text.ends_with(' ') {
                wrong.push(format!("{}:{line}: a blank at the end", document.name));
            }
        }
    }
    verdict(wrong)
}

fn readme_is_short() -> Result<(), Failed> {
    let lines = Document::read("README.md").lines.len();
    verdict((lines > README).then(|| format!("{lines} lines, where {README} are allowed")))
}

/// The row below the head of the README's table of versions.
fn versions() -> Result<(), Failed> {
    let readme = Document::read("README.md");
    let at =
        readme.lines.iter().position(|line| line.starts_with("| elemgrad |")).ok_or("there is no table")?;
    let row = readme.lines.get(at + 2).ok_or("the table has no row")?;
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let ours = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let manifest = source("Cargo.toml");
    let wgpu = manifest.lines().find_map(|line| line.strip_prefix("wgpu = { version = \""));
    let wgpu = wgpu.and_then(|version| version.split('.').next()).ok_or("Cargo.toml has no wgpu")?;
    verdict((cells[1..3] != [ours, wgpu]).then(|| format!("needs {ours} and {wgpu}: {row}")))
}

/// Files, targets and variants that stand between backticks.
fn names() -> Result<(), Failed> {
    const FOLDERS: [&str; 7] = ["src/", "tests/", "benches/", "docs/", "shaders/", "examples/", ".ci/"];
    let errors = source("src/error.rs");
    let mut wrong = Vec::new();
    for document in DOCUMENTS.map(Document::read) {
        let blocks = document.blocks.iter().filter(|block| block.is_shell());
        let commands: Vec<Shown> = blocks.flat_map(Block::commands).collect();
        let commands = commands.iter().map(|shown| (shown.line, shown.command.as_str()));
        for (line, code) in document.code().chain(commands) {
            let mut say = |what: String| wrong.push(format!("{}:{line}: {what}", document.name));
            let words: Vec<&str> = code.split_whitespace().collect();
            for word in &words {
                let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains("NAME");
                if is_path && !root().join(word).exists() {
                    say(format!("there is no {word}"));
                }
            }
            for pair in words.windows(2).filter(|_| words.contains(&"cargo")) {
                let folder = match pair[0] {
                    "--test" => "tests",
                    "--bench" => "benches",
                    "--example" => "examples",
                    _ => continue,
                };
                let [file, main] = [".rs", "/main.rs"].map(|end| format!("{folder}/{}{end}", pair[1]));
                if !root().join(file).exists() && !root().join(main).exists() {
                    say(format!("there is no {} {}", pair[0], pair[1]));
                }
            }
            if let Some(variant) = code.strip_prefix("Error::") {
                let known =
                    [" {", ",", "("].iter().any(|end| errors.contains(&format!("    {variant}{end}")));
                if !known {
                    say(format!("there is no {code}"));
                }
            }
        }
    }
    verdict(wrong)
}

fn options() -> Result<(), Failed> {
    let guide = source("docs/guide.md");
    let mut wrong = Vec::new();
    for call in ["demo", "info", "run", "verify", "bench", "shader", "plot"] {
        let help = Command::new(env!("CARGO_BIN_EXE_elemgrad")).args([call, "--help"]).output()?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let options: BTreeSet<&str> = help
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("-h, ").or(Some(line.trim_start())))
            .filter(|line| line.starts_with("--"))
            .filter_map(|line| line.split([' ', '=', '<', ',']).next())
            .collect();
        if options.len() < 2 {
            wrong.push(format!("{call}: no options are found in its help"));
        }
        let unknown = options.into_iter().filter(|option| !guide.contains(option));
        wrong.extend(unknown.map(|option| format!("{call}: the guide has no {option}")));
        if !guide.contains(&format!("elemgrad {call}")) {
            wrong.push(format!("the guide has no elemgrad {call}"));
        }
    }
    verdict(wrong)
}

/// The names of variables in a text.
fn variables_of(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("ELEMGRAD_").map(|(at, _)| at);
    let names = starts.map(|at| text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_'));
    names.map(String::from_iter).filter(|name| !name.ends_with('_')).collect()
}

fn variables() -> Result<(), Failed> {
    let guide = variables_of(&source("docs/guide.md"));
    let mut read = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "examples"].map(|f| root().join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(path)?;
                let literals = text.split('"').filter(|literal| variables_of(literal).contains(*literal));
                // `ELEMGRAD_TEST_X` is what a test says to itself.
                read.extend(literals.filter(|name| !name.starts_with("ELEMGRAD_TEST_")).map(str::to_owned));
            }
        }
    }
    let mut wrong: Vec<String> =
        read.difference(&guide).map(|name| format!("the guide has no {name}")).collect();
    wrong.extend(guide.difference(&read).map(|name| format!("nothing reads {name}")));
    verdict(wrong)
}
