// elastron pack, and training from what it writes: the curve of the records themselves on any
// layout, exact resume, and a whole file or none whatever happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>

#include "core/file/hdf5.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

const std::string kConfig = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml";

std::string synthesize(const Scratch& scratch, const std::string& more) {
  const std::string path = scratch / "records.jsonl";
  const Outcome o = elastron(
      0, "synthesize --out " + path + " --length 64 --length 90 " + "--clearance 24 " + more);
  EXPECT_EQ(o.code, 0) << o.err;
  return path;
}

std::string pack_arguments(const std::string& in, const std::string& out,
                           const std::string& more = "") {
  return "pack --model " + tiny_backbone() + " --in " + in + " --out " + out +
         " --max-tokens 200 --min-tokens 1 --label-mode answer " + more;
}

// Names in a folder, hidden ones too.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator(folder)) names.push_back(e.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

class Packed : public ::testing::Test {
 protected:
  void SetUp() override {
    records_ = synthesize(scratch_, "--records 160");
    const Outcome o = elastron(0, pack_arguments(records_, file_));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.out.find("documents: 160 (dropped: 0 unknown task, 0 short, 0 overlong)"),
              std::string::npos)
        << o.out;
    EXPECT_NE(o.out.find("% full"), std::string::npos) << o.out;
  }
  std::string train(const std::string& folder, const std::string& format, const std::string& file,
                    const std::string& more = "") const {
    return "train " + kConfig + " --set train.steps=6 --set model.path=" + tiny_backbone() +
           " --set output.dir=" + folder + " --set data.format=" + format + " --set data.train=[" +
           file + "] --set data.eval=[" + file + "] " + more;
  }
  Scratch scratch_;
  std::string records_, file_ = scratch_ / "packed.h5";
};

// By its name, in its folder and by a link: no error, as it may be meant, but said in one line.
TEST_F(Packed, AFileThatIsReadTwiceIsSaid) {
  const std::string link = scratch_ / "z.jsonl";
  fs::create_symlink(records_, link);
  const auto pack = [&](const std::string& in) {
    return elastron(0, pack_arguments(in, scratch_ / "twice.h5"));
  };
  const Outcome folder = pack(scratch_.path());
  ASSERT_EQ(folder.code, 0) << folder.err;
  EXPECT_NE(folder.err.find("warning: --in: " + link + " is read more than once: "),
            std::string::npos)
      << folder.err;
  const Outcome both = pack(records_ + " " + scratch_.path());
  ASSERT_EQ(both.code, 0) << both.err;
  EXPECT_NE(both.out.find("documents: 480 "), std::string::npos) << both.out;
  EXPECT_NE(both.err.find("warning: --in: " + records_ +
                          " is read more than once, and so are others (2 repeats in all): "),
            std::string::npos)
      << both.err;
  EXPECT_EQ(pack(records_).err.find("more than once"), std::string::npos);
}

TEST_F(Packed, CurveIsThatOfTheRecordsOnAnyLayout) {
  const Scratch golden;
  const Outcome direct = elastron(0, train(golden.path(), "jsonl", records_));
  ASSERT_EQ(direct.code, 0) << direct.err;
  ASSERT_EQ(metrics(golden.path()).size(), 6u);
  for (const int ranks : {0, 2, 4}) {
    const Scratch run;
    const Outcome o = elastron(
        ranks, train(run.path(), "packed", file_, ranks == 4 ? "--set parallel.tensor=2" : ""));
    ASSERT_EQ(o.code, 0) << o.err;
    expect_same_curve(metrics(golden.path()), metrics(run.path()), ranks == 0 ? 0 : 1e-5,
                      std::to_string(ranks) + " ranks");
  }
}

TEST_F(Packed, ResumeIsExact) {
  const Scratch whole, parts;
  const std::string more = "--set checkpoint.every=4 --set checkpoint.keep=9";
  ASSERT_EQ(elastron(2, train(whole.path(), "packed", file_, more)).code, 0);
  ASSERT_EQ(elastron(2, train(parts.path(), "packed", file_, more)).code, 0);
  fs::remove(parts / "checkpoints/step-00000006.h5");
  const Outcome again = elastron(2, train(parts.path(), "packed", file_, more));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("at step 4"), std::string::npos) << again.err;
  expect_same_curve(metrics(whole.path()), metrics(parts.path()), 0, "resumed");
  // Other data under the same name: the cursor does not fit.
  ASSERT_EQ(elastron(0, pack_arguments(records_, file_, "--packing first_fit")).code, 0);
  fs::remove(parts / "checkpoints/step-00000006.h5");
  const Outcome other = elastron(2, train(parts.path(), "packed", file_, more));
  EXPECT_EQ(other.code, 4) << other.err;
  EXPECT_NE(other.err.find("the data cursor belongs to other data"), std::string::npos)
      << other.err;
}

TEST_F(Packed, EvaluationGivesTheFiguresOfTheRecords) {
  std::string figures[2];
  for (const auto& [i, format] : {std::pair{0, "jsonl"}, {1, "packed"}}) {
    const std::string out = scratch_ / "figures.json";
    const Outcome o =
        elastron(2, "eval" + train(scratch_ / "none", format, i == 0 ? records_ : file_).substr(5) +
                        " --out " + out);
    ASSERT_EQ(o.code, 0) << o.err;
    figures[i] = read_text(out);
  }
  const auto a = nlohmann::json::parse(figures[0]), b = nlohmann::json::parse(figures[1]);
  EXPECT_EQ(a["by_kind"].size(), 6u);
  for (const auto& [kind, x] : a["by_kind"].items()) {
    const auto& y = b["by_kind"][kind];
    EXPECT_EQ(x["documents"], y["documents"]);
    EXPECT_EQ(x["labels"], y["labels"]);
    EXPECT_NEAR(x["loss"].get<double>(), y["loss"].get<double>(), 1e-5) << kind;
  }
}

TEST_F(Packed, DamageEndsTrainingWithOneLine) {
  std::string bytes = read_text(file_);
  const auto expect_refused = [&](int ranks, const std::string& what) {
    const Outcome o = elastron(ranks, train(scratch_ / "run", "packed", file_));
    EXPECT_EQ(o.code, 3) << o.err;
    EXPECT_NE(o.err.find(what), std::string::npos) << o.err;
    EXPECT_NE(o.err.find(file_), std::string::npos) << o.err;
    EXPECT_EQ(o.err.find("error: "), o.err.rfind("error: ")) << o.err;
  };
  // Half of the token ids, the largest dataset: every step draws a damaged pack. Each rank that
  // meets one says so, so there is one here.
  std::string damaged = bytes;
  for (size_t at = 4096; at < bytes.size() / 2; at += 64) damaged[at] = char(damaged[at] ^ 1);
  write_text(file_, damaged);
  expect_refused(0, "checksum mismatch");
  write_text(file_, bytes.substr(0, bytes.size() - 9));
  expect_refused(2, "cut off");
  fs::copy_file(scratch_ / "records.jsonl", file_, fs::copy_options::overwrite_existing);
  expect_refused(2, "not an HDF5 file");
}

// 6 steps of 8 packs.
TEST_F(Packed, PacksAreReadWhileTheStepBeforeRunsAndNoneBeyondTheLast) {
  const std::string report = scratch_ / "reads";
  const Outcome o = elastron(0, train(scratch_ / "run", "packed", file_),
                             "export LD_PRELOAD=" + preloadable(ELASTRON_READS_AHEAD) +
                                 " READS_PATH=packed.h5 READS_A_STEP=8 READS_IN_ALL=48" +
                                 " READS_REPORT=" + report + "; timeout 120");
  ASSERT_EQ(o.code, 0) << o.err;  // 124: a step was waited for that nobody read
  EXPECT_EQ(metrics(scratch_ / "run").size(), 6u);
  EXPECT_EQ(read_text(report), "48");
}

TEST_F(Packed, DamageIsMetByTheStepThatUsesIt) {
  // The first token of a pack, which some step of the first epoch draws.
  const Hdf5File whole = Hdf5File::open(file_, false);
  const uint64_t at = whole.place("/input_ids");
  std::string damaged = read_text(file_);
  damaged[at] = char(damaged[at] ^ 1);
  write_text(file_, damaged);
  size_t good = 0;  // steps before it
  for (const int ranks : {0, 2}) {
    const Scratch run;
    const Outcome o = elastron(ranks, train(run.path(), "packed", file_, "--set train.steps=12"));
    expect_error(o, 3, {"checksum mismatch in pack 0 (" + file_});
    if (ranks == 0) good = metrics(run.path()).size();
    EXPECT_EQ(metrics(run.path()).size(), good);
  }
  ASSERT_GT(good, 1u);
  // Which is no step of a run that ends before.
  const Scratch run;
  const Outcome o =
      elastron(0, train(run.path(), "packed", file_, "--set train.steps=" + std::to_string(good)));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(metrics(run.path()).size(), good);
}

TEST_F(Packed, ArgumentsAndFilesThatAreWrong) {
  const std::string out = scratch_ / "out.h5";
  const auto refused = [&](const std::string& arguments, int code, const std::string& what) {
    const Outcome o = elastron(0, arguments);
    EXPECT_EQ(o.code, code) << arguments << "\n" << o.err;
    EXPECT_NE(o.err.find(what), std::string::npos) << what << "\n" << o.err;
    EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << o.err;
    EXPECT_FALSE(fs::exists(out));
  };
  refused("pack --model x --in y --out " + out, 2, "--max-tokens");
  refused(pack_arguments(records_, out, "--packing best"), 2, "--packing");
  refused(pack_arguments(records_, out, "--threads 0"), 2, "--threads");
  refused("pack --model " + tiny_backbone() + " --in " + records_ + " --out " + out +
              " --max-tokens 200",
          2, "--min-tokens, --max-tokens");  // the default is 1000
  refused(pack_arguments(scratch_ / "none.jsonl", out), 3, "none.jsonl");
  refused(pack_arguments(records_, records_), 2, "one of the input files");
  refused(pack_arguments(records_, scratch_ / "none/out.h5"), 3, "none");
  refused(pack_arguments(records_, out, "--chat-template qwen3"), 3,
          "the tokenizer lacks the chat template's token <|im_start|>");
  write_text(scratch_ / "bad.jsonl", "{\"context\": \"\xff\"}\n");
  refused(pack_arguments(records_ + " " + (scratch_ / "bad.jsonl"), out), 3,
          "text that is not UTF-8 (" + (scratch_ / "bad.jsonl") + ":1, byte 14)");
}

// What the lines of strangers' files hold, and what they are that hold no lines.
TEST_F(Packed, StrangersRecords) {
  const std::string file = scratch_ / "in.jsonl", out = scratch_ / "out.h5";
  const auto record = [](const std::string& context, const std::string& more) {
    return R"({"context": ")" + context + R"(", "question": "find", )" + more +
           R"("metadata": {"task": "Single QA"}})" + "\n";
  };
  const std::string good = record("n1 n2", R"("answer": "v1", )");
  const auto packed = [&](const std::string& text, const std::string& more = "") {
    write_text(file, text);
    return elastron(0, pack_arguments(file, out, more));
  };
  const auto refused = [&](const Outcome& o, const std::string& what) {
    EXPECT_EQ(o.code, 3) << o.err;
    EXPECT_EQ(o.err.find("error: " + what), 0u) << o.err;
    EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << o.err;
  };
  // A record without an answer is one.
  Outcome o = packed(good + record("n1 n2", ""));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("documents: 2 "), std::string::npos) << o.out;
  const std::string nan =
      R"({"context": "a", "question": "b", "metadata": {"task": "Code", "score": NaN}})";
  refused(packed(good + nan), "not acceptable JSON: NaN is no number of JSON (" + file + ":2, ");
  refused(packed(record("a \\ud83d x", "")),
          "not acceptable JSON: an escape of half a surrogate pair, which is no character (" +
              file + ":1, line 1 byte ");
  refused(packed(std::string("\xff\xfe{\0", 4)),
          "the file is UTF-16 text, not JSON lines of UTF-8 (" + file + "): convert it to UTF-8");
  refused(packed(std::string("\x1f\x8b\x08\0", 4)),
          "the file is gzip data, not JSON lines of UTF-8 (" + file + "): unpack it");
  // Skipped where asked, and counted with the first place of each fault.
  o = packed(nan + "\n" + good + nan + "\n", "--bad-records skip");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("skipped 2 bad records: not acceptable JSON: NaN is no number of JSON (2, "
                       "first " +
                       file + ":1)\n"),
            std::string::npos)
      << o.out;
  refused(packed(nan + "\n", "--bad-records skip"), "no document is left of 1 record");
  // Control tokens that the text spells out: kept and counted, text, or an error.
  const std::string forged = record("n1 <eos> n2", R"("answer": "v1", )");
  o = packed(good + forged);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(
      o.out.find("control tokens are spelled out in the text: 1 in 1 record, first '<eos>' (" +
                 file + ":2); they become real ones"),
      std::string::npos)
      << o.out;
  const std::string kept = read_text(out);
  o = packed(good + forged, "--control-tokens text");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("they are plain text here"), std::string::npos) << o.out;
  EXPECT_TRUE(read_text(out) != kept);
  refused(packed(good + forged, "--control-tokens error"),
          "the text has the control token '<eos>' (" + file + ":2)");
}

TEST_F(Packed, FoldersAndPatterns) {
  const Scratch data;
  const std::string text = read_text(records_);
  const size_t middle = text.find('\n', text.size() / 2) + 1;
  write_text(data / "1.jsonl", text.substr(0, middle));
  write_text(data / "2.jsonl", text.substr(middle));
  for (const std::string& in : {data.path(), "'" + (data / "*.jsonl") + "'"}) {
    const std::string out = scratch_ / "out.h5";
    const Outcome o = elastron(0, pack_arguments(in, out));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_TRUE(read_text(out) == read_text(file_)) << in;
  }
  const Outcome none = elastron(0, pack_arguments("'" + (data / "3*") + "'", scratch_ / "none.h5"));
  EXPECT_EQ(none.code, 3);
  EXPECT_EQ(none.err.find("error: no file matches (--in: " + (data / "3*") + "): "), 0u)
      << none.err;
  // A run reads them the same way.
  const Outcome run = elastron(0, train(scratch_ / "run", "jsonl", data.path()));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_NE(run.err.find("160 documents"), std::string::npos) << run.err;
}

TEST_F(Packed, ConfigurationFilesGiveTheDataSection) {
  write_text(scratch_ / "data.yaml",
             "data: {min_tokens: 80, label_mode: answer, packing: none, max_tokens: 100}\n");
  const std::string out = scratch_ / "out.h5", same = scratch_ / "same.h5";
  const std::string begin = "pack --model " + tiny_backbone() + " --in " + records_ + " --out ";
  Outcome o = elastron(0, begin + out + " --max-tokens 200 --config " + (scratch_ / "data.yaml"));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("of at most 200 tokens"), std::string::npos) << o.out;
  o = elastron(
      0, begin + same + " --max-tokens 200 --min-tokens 80 --label-mode answer --packing none");
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_TRUE(read_text(out) == read_text(same));
}

TEST_F(Packed, StopsOnRequestAndLeavesNothing) {
  std::string in;
  for (int i = 0; i < 400; ++i) in += records_ + " ";
  const Scratch out;
  // Before it can be done, wherever it is; it may also end in time.
  int stopped = 0;
  for (const char* seconds : {"0.05", "0.1", "0.2", "0.3"}) {
    const Outcome o = elastron(0, pack_arguments(in, out / "x.h5", "--threads 1"),
                               std::string("timeout --preserve-status -s TERM ") + seconds);
    ASSERT_TRUE(o.code == 75 || o.code == 0 || o.code == 143) << o.code << o.err;
    if (o.code == 75 && !o.err.empty()) {  // empty: it had not begun
      ++stopped;
      // Behind the warning that one file is read many times.
      EXPECT_TRUE(o.err.ends_with("\nstopped on request: nothing was written\n")) << o.err;
    }
    EXPECT_EQ(names_in(out.path()),
              o.code == 0 ? std::vector<std::string>{"x.h5"} : std::vector<std::string>{});
    fs::remove(out / "x.h5");
  }
  EXPECT_GT(stopped, 0);
}

TEST_F(Packed, KilledAtAnyMomentTheOldFileOrTheNewOneIsThere) {
  std::string in;
  for (int i = 0; i < 60; ++i) in += records_ + " ";
  const std::string out = scratch_ / "out.h5", fresh = scratch_ / "fresh.h5";
  ASSERT_EQ(elastron(0, pack_arguments(in, fresh)).code, 0);
  const std::string old = read_text(file_), wanted = read_text(fresh);
  std::mt19937 random(5);
  int kills = 0;
  for (int round = 0; round < 12; ++round) {
    fs::copy_file(file_, out, fs::copy_options::overwrite_existing);
    const Outcome o = elastron(0, pack_arguments(in, out),
                               "timeout -s KILL " + std::to_string(0.02 + random() % 400 / 1000.0));
    kills += o.code == 137;
    const std::string now = read_text(out);
    EXPECT_TRUE(now == old || now == wanted) << round;
  }
  EXPECT_GT(kills, 2);
  // What a killed one left does not disturb the next, and goes.
  ASSERT_EQ(elastron(0, pack_arguments(in, out)).code, 0);
  EXPECT_TRUE(read_text(out) == wanted);
  for (const std::string& name : names_in(scratch_.path())) EXPECT_NE(name[0], '.') << name;
}

TEST_F(Packed, AnyCallThatFailsLeavesTheOldFile) {
  const std::string wanted = read_text(file_);
  std::map<std::string, int> calls;
  for (const std::string function : {"open", "open64", "fallocate", "ftruncate", "ftruncate64",
                                     "write", "pwrite", "pwrite64", "fsync", "close", "rename"}) {
    for (int k = 1;; ++k) {
      const Scratch scratch;
      const std::string folder = scratch / "checkpoints", report = scratch / "report";
      fs::create_directory(folder);
      const std::string out = folder + "/out.h5";
      write_text(out, "old");
      const Outcome o =
          elastron(0, pack_arguments(records_, out),
                   "export LD_PRELOAD=" + preloadable(ELASTRON_FAILING_CALLS) +
                       " FAIL_CALL=" + function + " FAIL_AT=" + std::to_string(k) +
                       " FAIL_ERRNO=" + std::to_string(ENOSPC) + " FAIL_REPORT=" + report + ";");
      const std::string where = function + " " + std::to_string(k) + "\n" + o.err;
      EXPECT_EQ(names_in(folder), (std::vector<std::string>{"out.h5"})) << where;
      if (o.code == 0) {
        EXPECT_TRUE(read_text(out) == wanted) << where;
      } else {
        EXPECT_EQ(o.code, 3) << where;
        EXPECT_EQ(o.err.find("error: "), 0u) << where;
        EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << where;
        // The last sync is that of the folder: the new file is there by then.
        const std::string now = read_text(out);
        EXPECT_TRUE(now == "old" || (function != "write" && now == wanted)) << where;
      }
      if (!fs::exists(report)) break;
      ++calls[function];
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_EQ(calls["fsync"], 2);  // file and folder
  EXPECT_EQ(calls["rename"], 1);
  EXPECT_GE(calls["write"] + calls["pwrite"] + calls["pwrite64"], 4);
}

TEST_F(Packed, AFullDiskIsOneError) {
  const Scratch out;
  const Outcome o =
      elastron(0, pack_arguments(records_, out / "x.h5"), "trap '' XFSZ; ulimit -f 20;");
  EXPECT_EQ(o.code, 3) << o.err;
  EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << o.err;
  EXPECT_EQ(names_in(out.path()), std::vector<std::string>{});
}

}  // namespace
}  // namespace elastron::test
