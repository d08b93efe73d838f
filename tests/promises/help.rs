//! What every program says of itself.

use devnet::processes::run;

/// Every program a user gets, with all that it says of its commands, and of theirs.
const PROGRAMS: [&str; 6] = [
    "countersign",
    "countersign-node",
    "countersign-agent",
    "countersign-devnet",
    "countersign-attack",
    "countersign-bench",
];
/// What is wrapped cannot be copied: lines of examples fit into the narrowest usual terminal.
const EXAMPLE_COLUMNS_MAX: usize = 79;
/// Commands have commands, and these have none.
const DEPTH_MAX: usize = 3;

/// The help of a command and of all beneath it, each with the words it is asked for with.
fn helps(program: &str, words: &[&str], all: &mut Vec<(String, String)>) {
    let arguments: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
    let help = run(program, &arguments).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What a command does goes on in lines that are set in deeper.
    let commands = commands.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(words.len() < DEPTH_MAX, "{program} {words:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let words: Vec<&str> = words.iter().copied().chain([command]).collect();
        helps(program, &words, all);
    }
    all.push((format!("{program} {}", words.join(" ")), help));
}

#[test]
fn examples_are_never_wrapped() {
    let mut examples = 0;
    for program in PROGRAMS {
        let mut all = Vec::new();
        helps(program, &[], &mut all);
        for (command, help) in all {
            let after = help.lines().skip_while(|line| !line.starts_with("Example"));
            for line in after.filter(|line| line.starts_with("  ")) {
                assert!(line.chars().count() <= EXAMPLE_COLUMNS_MAX, "{command}: {line}");
                examples += 1;
            }
        }
    }
    assert!(examples > 100, "only {examples} lines of examples were found");
}
