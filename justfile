# The verbs of this house. `just` lists them.

# Worlds are large: pages of two megabytes.
export MIMALLOC_ALLOW_THP := '2'

default:
    @just --list

# Answer with a real model
run *args='run smollm2':
    cargo run --release -- {{args}}

# Compile everything, with lints as errors
check:
    cargo fmt --all --check
    cargo run -q -p tutu-tidy
    cargo clippy --workspace --all-targets -- -D warnings

# What must pass before a change lands
test:
    bash ci/test

# Fifty answers to each of ten JSON schemas, all validated by somebody else
schemas samples='50':
    TUTU_SAMPLES={{samples}} cargo test --release -p tutu --test talk -- --nocapture each_answer_satisfies

# Thousands of nodes in one process: --scenario, --nodes, --seed, --seeds, --seconds, --loss, --json, --plot
sim *args='--scenario churn --nodes 1000 --seconds 600':
    cargo run --release -p tutu-sim -- {{args}}

# Worlds full of liars: `just liars 1000` is the long run
liars seeds='20' nodes='500':
    cargo run --release -p tutu-sim -- --scenario byzantine --nodes {{nodes}} --seconds 150 --seeds {{seeds}}

# 300 hours of 10,000 nodes of which one in twenty stalls: days of one core
stalls seeds='300':
    cargo run --release -p tutu-sim -- --scenario stall --nodes 10000 --seconds 3600 --seeds {{seeds}}

# Switch on fifty faults of the protocol, one at a time: the simulator must notice
mutants:
    cargo run --release -p tutu-sim --features mutants -- --mutants

# Throw mutated files at every parser
fuzz iterations='200000':
    cargo run --release -p tutu-fuzz -- --iterations {{iterations}}

# Speed of MODEL on this machine
bench model='smollm2' *args='':
    cargo run --release -- bench {{model}} {{args}}

# Requests a second of small JSON (at least 50,000 on two cores, p99 below 5 ms)
bench-http seconds='10':
    cargo build --release
    ci/bench-http target/release/tutu {{seconds}}

# Ten thousand small chats: nothing fails, memory stays as it is. MODEL is a name or a GGUF file
soak model='smollm2' requests='10000':
    cargo build --release
    ci/soak target/release/tutu {{model}} {{requests}}

# Speed beside llama.cpp, in turn: PEER is a folder with its llama-bench and llama-batched-bench, MODELS are GGUF files
beside peer +models:
    cargo build --release
    ci/beside target/release/tutu {{peer}} {{models}}

# How far every format is from the truth on every instruction path: MODEL is a GGUF file, TEXT some pages of prose, PEER perhaps
# a folder with llama-perplexity
perplexity model text peer='':
    cargo build --release
    PEER={{peer}} ci/perplexity target/release/tutu {{model}} {{text}}

# Figures of the core's decisions: trust, scheduling, audits
bench-core:
    cargo run --release -p tutu-node --example trust
    cargo run --release -p tutu-node --example schedule
    cargo run --release -p tutu-node --example audit

# The documentation of every crate
doc:
    cargo doc --workspace --no-deps --open

# Speed of the economy on one core of this machine
bench-economy:
    cargo run --release -p tutu-node --example economy

# Whether tests notice each rule of the economy that is broken
mutants-economy:
    ci/mutants-economy

# A thousand ledgers, a fifth of them Byzantine, until POSTINGS are certified
ledger-world postings='1000000' seed='1':
    TUTU_WORLD_POSTINGS={{postings}} TUTU_WORLD_SEED={{seed}} cargo test --release -p tutu-node --test economy_world -- --nocapture safe_in

# The same, and each account's witnesses change every day
ledger-changes postings='1000000' seed='1':
    TUTU_WORLD_POSTINGS={{postings}} TUTU_WORLD_SEED={{seed}} cargo test --release -p tutu-node --test economy_world -- --nocapture safe_while

# Hosts that work for each other and pay, one in five of which cheats: zero sum, S1 to S4 and each charge are checked after each event
economy nodes='40' seconds='900' *args='':
    cargo run --release -p tutu-sim -- --scenario economy --nodes {{nodes}} --seconds {{seconds}} {{args}}

# A search for attacks that pay: the bound, and the price of a hundredth of all trust
attacks generations='20' nodes='16' seconds='600' seed='1':
    cargo run --release -p tutu-sim -- --scenario attacks --nodes {{nodes}} --seconds {{seconds}} --seeds {{generations}} --seed {{seed}}
