#include "tests/launch/program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace elastron::test {

namespace fs = std::filesystem;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string for_shell(const std::string& command) {
  const std::string plain = ELASTRON_SOURCE_DIR;
  std::string escaped, out;
  for (const char c : plain) {
    if (c == ' ') escaped += '\\';
    escaped += c;
  }
  size_t at = 0;
  for (size_t found; (found = command.find(plain, at)) != command.npos; at = found + plain.size()) {
    out += command.substr(at, found - at) + escaped;
  }
  return out + command.substr(at);
}

std::string preloadable(const std::string& library) {
  static const Scratch scratch;
  const std::string link = scratch / fs::path(library).filename().string();
  if (!fs::exists(link)) fs::create_symlink(library, link);
  return link;
}

Outcome elastron(int ranks, const std::string& arguments, const std::string& prefix) {
  return run_program(ELASTRON_PROGRAM, ranks, arguments, prefix);
}

Outcome run_program(const std::string& program, int ranks, const std::string& arguments,
                    const std::string& prefix) {
  const Scratch scratch;
  // Open MPI itself leaks at exit; a preloaded library may stand before the sanitizer's.
  setenv("ASAN_OPTIONS", "detect_leaks=0:verify_asan_link_order=0", 1);
  // What the program keeps of an emulated GPU is not for the user's own folder.
  static const Scratch cache;
  setenv("XDG_CACHE_HOME", cache.path().c_str(), 1);
  std::string command = prefix + " ";
  if (ranks > 0) {
    command += std::string(ELASTRON_SOURCE_DIR) + "/tests/support/mpirun.sh " +
               std::to_string(ranks) + " ";
  }
  command += program + " " + arguments + " >" + (scratch / "out") + " 2>" + (scratch / "err") +
             " </dev/null";
  const int status = std::system(for_shell(command).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          read_text(scratch / "out"), read_text(scratch / "err")};
}

void expect_error(const Outcome& o, int code, const std::vector<std::string>& fragments) {
  EXPECT_EQ(o.code, code) << o.err;
  size_t lines = 0;
  for (size_t at = o.err.find("error: "); at != o.err.npos; at = o.err.find("error: ", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 1u) << o.err;
  for (const auto& f : fragments) EXPECT_NE(o.err.find(f), std::string::npos) << f << "\n" << o.err;
}

nlohmann::json contents(const std::string& checkpoint) {
  const Outcome o = elastron(0, "inspect --json " + checkpoint);
  EXPECT_EQ(o.code, 0) << o.err;
  if (o.code != 0) return {};
  auto object = nlohmann::json::parse(o.out);
  for (const char* key : {"path", "run", "config"}) object.erase(key);
  return object;
}

std::map<int64_t, nlohmann::json> metrics(const std::string& folder) {
  std::map<int64_t, nlohmann::json> steps;
  std::ifstream in(folder + "/metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    auto object = nlohmann::json::parse(line);
    if (object.contains("event")) continue;
    const int64_t step = object["step"];
    EXPECT_FALSE(steps.contains(step)) << "step " << step << " is logged twice";
    steps[step] = object;
  }
  return steps;
}

void expect_same_curve(const std::map<int64_t, nlohmann::json>& a,
                       const std::map<int64_t, nlohmann::json>& b, double tolerance,
                       const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  ASSERT_FALSE(a.empty()) << what;
  for (const auto& [step, x] : a) {
    const auto& y = b.at(step);
    for (const char* key : {"loss", "lm_loss", "pair_loss", "sparsity_loss", "msr", "grad_norm",
                            "accuracy", "margin_mean", "reward_std"}) {
      ASSERT_EQ(x.contains(key), y.contains(key)) << what;
      if (!x.contains(key)) continue;
      const double u = x[key], v = y[key];
      // A margin is a difference of rewards, whose rounding it has.
      const double least = std::string(key) == "margin_mean" ? 1.0 : 1e-3;
      ASSERT_LE(std::abs(u - v), tolerance * std::max(std::abs(u), least))
          << what << " step " << step << " " << key << " " << u << " " << v;
    }
  }
}

const std::string& tiny_shapes() {
  static const Scratch scratch;
  static const std::string folder = [] {
    fs::copy(ELASTRON_TEST_FIXTURES "/tiny_model/config.json", scratch / "config.json");
    const Outcome made = elastron(0, "synthesize --tokenizer " + (scratch / "tokenizer.json"));
    EXPECT_EQ(made.code, 0) << made.err;
    return scratch.path();
  }();
  return folder;
}

namespace {

// Trains the shapes for three steps into a folder.
std::string pretrained(const std::string& shapes, const std::string& folder) {
  const Outcome made = elastron(0, "train " + std::string(ELASTRON_SOURCE_DIR) +
                                       "/tests/launch/pretrain.yaml --set model.path=" + shapes +
                                       " --set output.dir=" + folder + " --set train.steps=3");
  EXPECT_EQ(made.code, 0) << made.err;
  return folder + "/model";
}

// The tiny shapes with these keys of config.json instead, in `folder`.
std::string shapes_with(const nlohmann::json& keys, const std::string& folder) {
  fs::copy(tiny_shapes(), folder);
  auto config = nlohmann::json::parse(read_text(folder + "/config.json"));
  config.update(keys);
  write_text(folder + "/config.json", config.dump());
  return folder;
}

}  // namespace

const std::string& tiny_backbone() {
  static const Scratch scratch;
  static const std::string folder = pretrained(tiny_shapes(), scratch.path());
  return folder;
}

namespace {

// What the config.json of a family has that the tiny shapes lack.
const std::map<std::string, nlohmann::json>& families() {
  static const std::map<std::string, nlohmann::json> keys = {
      {"llama",
       {{"architectures", {"LlamaForCausalLM"}},
        {"tie_word_embeddings", false},
        {"rope_scaling",
         {{"rope_type", "llama3"},
          {"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 32}}}}},
      {"mistral", {{"architectures", {"MistralForCausalLM"}}, {"sliding_window", nullptr}}},
      {"qwen2", {{"architectures", {"Qwen2ForCausalLM"}}}}};
  return keys;
}

}  // namespace

const std::string& tiny_shapes(const std::string& family) {
  static const Scratch scratch;
  static std::map<std::string, std::string> folders;
  std::string& folder = folders[family];
  if (folder.empty()) {
    nlohmann::json keys = families().at(family);
    keys["model_type"] = family;
    folder = shapes_with(keys, scratch / family);
  }
  return folder;
}

const std::string& tiny_backbone(const std::string& family) {
  static const Scratch scratch;
  static std::map<std::string, std::string> folders;
  std::string& folder = folders[family];
  if (folder.empty()) folder = pretrained(tiny_shapes(family), scratch / family);
  return folder;
}

}  // namespace elastron::test
