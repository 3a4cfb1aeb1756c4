//! The functions of `shaders/`, available by name together with everything that they call. A kernel contains what it
//! uses and no more.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use crate::{
    dtype::DType,
    error::Error,
    wgsl::{identifiers, words},
};

/// The items that every kernel may call, in the order in which they appear in a kernel.
const SHARED: &[&str] = &[
    include_str!("../../shaders/numeric/f32.wgsl"),
    include_str!("../../shaders/numeric/division.wgsl"),
    include_str!("../../shaders/blocks/arithmetic.wgsl"),
    include_str!("../../shaders/blocks/division.wgsl"),
    include_str!("../../shaders/blocks/logic.wgsl"),
    include_str!("../../shaders/blocks/exponential.wgsl"),
    include_str!("../../shaders/blocks/circular.wgsl"),
    include_str!("../../shaders/blocks/hyperbolic.wgsl"),
    include_str!("../../shaders/blocks/roots.wgsl"),
    include_str!("../../shaders/blocks/logistic.wgsl"),
    include_str!("../../shaders/idioms/modulo.wgsl"),
    include_str!("../../shaders/idioms/spiky.wgsl"),
];

/// A function, a constant or a struct.
struct Item {
    name: &'static str,
    /// Its text, with the comment above it.
    text: &'static str,
    /// The names in it.
    uses: Vec<&'static str>,
}

/// The items available to kernels of a storage type, in order, and the place of each.
struct Library {
    items: Vec<Item>,
    places: HashMap<&'static str, usize>,
}

impl Library {
    fn new(dtype: DType) -> Self {
        let items: Vec<Item> = SHARED.iter().copied().chain([dtype.row().wgsl]).flat_map(items).collect();
        let places = items.iter().enumerate().map(|(place, item)| (item.name, place)).collect();
        Self { items, places }
    }

    fn of(dtype: DType) -> &'static Self {
        static ALL: LazyLock<[Library; DType::ALL.len()]> = LazyLock::new(|| DType::EACH.map(Library::new));
        &ALL[dtype as usize]
    }
}

/// The items that `texts` use, directly or through other items.
pub(crate) fn used_by<'t>(texts: impl IntoIterator<Item = &'t str>, dtype: DType) -> String {
    let library = Library::of(dtype);
    let mut used = HashSet::new();
    let mut open: Vec<usize> = texts
        .into_iter()
        .flat_map(identifiers)
        .filter_map(|name| library.places.get(name).copied())
        .collect();
    while let Some(place) = open.pop() {
        if used.insert(place) {
            open.extend(library.items[place].uses.iter().filter_map(|name| library.places.get(name)));
        }
    }
    let used = library.items.iter().enumerate().filter(|(place, _)| used.contains(place));
    used.map(|(_, item)| item.text).collect::<Vec<_>>().join("\n")
}

/// Checks that no name is already an item's name.
pub(crate) fn check_names<'n>(op: &str, names: impl IntoIterator<Item = &'n String>) -> Result<(), Error> {
    let taken = |name: &str| DType::ALL.iter().any(|dtype| Library::of(*dtype).places.contains_key(name));
    match names.into_iter().find(|name| taken(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Name {
            op: op.to_owned(),
            got: name.clone(),
            need: "free: it means something in WGSL or in the shaders".into(),
        }),
    }
}

/// All items of f32, except the device's own float arithmetic.
#[cfg(test)]
pub(crate) fn integers() -> String {
    let floats = |name: &str| name.starts_with("native_") || name.starts_with("near_");
    let items = Library::of(DType::F32).items.iter().filter(|item| !floats(item.name));
    items.map(|item| item.text).collect::<Vec<_>>().join("\n")
}

/// Whether there is an item with this name.
#[cfg(test)]
pub(crate) fn has(name: &str) -> bool {
    Library::of(DType::F32).places.contains_key(name)
}

/// The items of a file. A comment belongs to the item that directly follows it, without a blank line.
fn items(source: &'static str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut start, mut depth, mut name) = (None, 0_usize, None);
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let end = at + line.len();
        if depth == 0 && line.trim().is_empty() {
            start = None;
        } else if depth == 0 {
            start.get_or_insert(at);
            let declared = ["fn ", "const ", "struct "].iter().find_map(|word| line.strip_prefix(word));
            name = declared.and_then(|rest| identifiers(rest).next()).or(name);
        }
        let code = line.split("//").next().unwrap_or_default();
        depth = depth + code.matches('{').count() - code.matches('}').count();
        let ends = depth == 0 && code.trim_end().ends_with(['}', ';']);
        if let (true, Some(from), Some(declared)) = (ends, start, name) {
            let text = &source[from..end];
            items.push(Item { name: declared, text, uses: words(text).map(|(_, word)| word).collect() });
            (start, name) = (None, None);
        }
        at = end;
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{Primitive, Wgsl};

    /// Every file is split into everything that it declares, and nothing is declared twice.
    #[test]
    fn files_are_their_items() {
        for &dtype in DType::ALL {
            let mut names = HashSet::new();
            for source in SHARED.iter().copied().chain([dtype.row().wgsl]) {
                let declared = source
                    .lines()
                    .filter(|line| ["fn ", "const ", "struct "].iter().any(|word| line.starts_with(word)));
                let items = items(source);
                assert_eq!(items.len(), declared.count(), "{source}");
                for item in items {
                    assert!(names.insert(item.name), "{} is declared twice", item.name);
                }
            }
        }
    }

    /// Every block has the functions that its row names, and every such function has a row.
    #[test]
    fn blocks_have_their_functions() {
        let mut known = HashSet::new();
        for primitive in Primitive::ALL {
            let libraries: &[&str] = match primitive.row().wgsl {
                Wgsl::Integers => &["f32"],
                Wgsl::Both => &["f32", "native"],
                Wgsl::Native => &["native"],
                Wgsl::Form(_) => &[],
            };
            for library in libraries {
                let name = format!("{library}_{}", primitive.name());
                assert!(has(&name), "shaders/blocks lacks {name}");
                known.insert(name);
            }
        }
        let items = SHARED.iter().flat_map(|source| items(source));
        let natives = items.filter(|item| item.name.starts_with("native_"));
        natives.for_each(|item| assert!(known.contains(item.name), "{} has no row", item.name));
    }

    #[test]
    fn a_kernel_holds_what_it_uses() {
        let text = used_by(["f32_add(x, y)"], DType::F32);
        assert!(text.contains("fn f32_add(") && text.contains("const F32_NAN"), "{text}");
        assert!(!text.contains("fn f32_mul(") && !text.contains("native_"), "{text}");
        assert!(used_by(["storage_widen(x)"], DType::F16).contains("fn storage_widen("));
    }
}
