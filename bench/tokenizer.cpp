// Encoding speed of a tokenizer on one thread: MB/s of the best of several runs over a text file,
// as one JSON object. tests/oracle/compare_tokenizers.py runs it in turns with the Python package.
#include "data/tokenizer.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "core/error.h"
#include "core/file/input_file.h"

int main(int argc, char** argv) {
  std::string model, path;
  int runs = 5;
  bool ids_only = false;
  CLI::App app{"Encoding speed of a tokenizer"};
  app.add_option("--model", model, "model folder")->required();
  app.add_option("--text", path, "text file, at most 256 MiB")->required();
  app.add_option("--runs", runs, "the best counts")->check(CLI::PositiveNumber);
  app.add_flag("--ids", ids_only, "print the ids of the whole text instead");
  CLI11_PARSE(app, argc, argv);
  try {
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point start) {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const auto loading = Clock::now();
    const auto tokenizer = elastron::data::load_tokenizer(model);
    const double load_seconds = seconds_since(loading);
    const std::string text = elastron::read_small_file(path, uint64_t(256) << 20);
    if (ids_only) {
      for (const int32_t id : tokenizer->encode(text)) std::printf("%d\n", id);
      return 0;
    }
    double best = 1e30;
    size_t tokens = 0;
    for (int run = 0; run < runs; ++run) {
      const auto start = Clock::now();
      tokens = tokenizer->encode(text).size();
      best = std::min(best, seconds_since(start));
    }
    std::printf(
        "{\"bytes\": %zu, \"tokens\": %zu, \"seconds\": %.6f, \"mb_per_second\": %.2f, "
        "\"load_seconds\": %.3f}\n",
        text.size(), tokens, best, double(text.size()) / 1e6 / best, load_seconds);
  } catch (const elastron::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return int(error.kind());
  }
  return 0;
}
