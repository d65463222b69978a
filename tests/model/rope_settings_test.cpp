// The rope scaling of a config.json, wherever it is written, and the one that a configuration puts in
// its place: frequencies are the transformers library's (tests/fixtures/rope, made by
// tests/oracle/make_rope_fixtures.py), and what is not computed is refused by name.
#include "model/weights/rope_settings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "core/json.h"
#include "model/weights/model_folder.h"
#include "tests/support/scratch.h"

namespace elastron::model {
namespace {

using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;
using ops::Llama3RopeScaling;
using ops::YarnRopeScaling;

const std::string kModels = std::string(ELASTRON_SOURCE_DIR) + "/configs/models";
const std::string kFixtures = std::string(ELASTRON_TEST_FIXTURES) + "/rope";

Json read(const std::string& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

Json config_of(const std::string& model) { return read(kModels + "/" + model + "/config.json"); }
Json qwen() { return config_of("Qwen3-8B"); }  // 40,960 positions, theta 1e6

// `base` with the keys of `changes`; null takes one out.
Json with(Json base, const Json& changes) {
  for (const auto& [key, value] : changes.items()) {
    base.erase(key);
    if (!value.is_null()) base[key] = value;
  }
  return base;
}
Json scaled(const Json& keys) { return with(qwen(), {{"rope_scaling", keys}}); }

ModelConfig parse(const Json& config, const RopeOverride& rope = {}) {
  return parse_model_config(config.dump(), "config.json", rope);
}
RopeOverride setting(const std::string& text) { return parse_rope_override(text, "here"); }

template <class F>
void expect_fault(F&& read, const std::vector<std::string>& fragments) {
  try {
    read();
    ADD_FAILURE() << "taken, in place of: " << fragments[0];
  } catch (const InputError& e) {
    for (const std::string& f : fragments) {
      EXPECT_NE(std::string(e.what()).find(f), std::string::npos) << f << "\n" << e.what();
    }
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
}
void expect_refused(const Json& config, const std::vector<std::string>& fragments) {
  expect_fault([&] { parse(config); }, fragments);
}

const Json kYarn = {
    {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}};
const Json kLlama3 = {{"rope_type", "llama3"},
                      {"factor", 8.0},
                      {"low_freq_factor", 1.0},
                      {"high_freq_factor", 4.0},
                      {"original_max_position_embeddings", 8192}};

// Two roundings of float32: powers are not computed by the same code.
TEST(RopeSettings, FrequenciesAreTheLibrarys) {
  const Json cases = read(kFixtures + "/frequencies.json");
  EXPECT_GE(cases.size(), 10u);
  for (const auto& [name, expected] : cases.items()) {
    Json config = config_of(expected["model"]);
    if (!expected["rope_scaling"].is_null()) config["rope_scaling"] = expected["rope_scaling"];
    const ModelConfig m = parse(config);
    const auto got = ops::rope_frequencies(m.head_dim, m.rope, DType::f32);
    const auto want = expected["inverse"].get<std::vector<double>>();
    ASSERT_EQ(got.inverse.size(), want.size()) << name;
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got.inverse[i], want[i], 2.4e-7 * want[i]) << name << ", frequency " << i;
    }
    EXPECT_NEAR(got.scale, expected["scale"].get<double>(), 1e-15) << name;
  }
  // Qwen's card, by hand: index 20 is kept, index 44 divided by four, those between in parts.
  const ModelConfig m = parse(scaled(kYarn));
  const auto f = ops::rope_frequencies(m.head_dim, m.rope, DType::f64);
  EXPECT_NEAR(f.scale, 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_NEAR(f.inverse[20], std::pow(1e6, -20 / 64.0), 1e-15);
  EXPECT_NEAR(f.inverse[44], std::pow(1e6, -44 / 64.0) / 4, 1e-15);
  // Beta 32 is reached at index 23.6, beta 1 at 39.7: a ramp from 23 to 40.
  const double ramp = (30 - 23) / 17.0;
  EXPECT_NEAR(f.inverse[30], std::pow(1e6, -30 / 64.0) * (ramp / 4 + 1 - ramp), 1e-15);
}

TEST(RopeSettings, EveryPlaceWhereItIsWritten) {
  const Json bare = with(qwen(), {{"rope_theta", nullptr}, {"rope_scaling", nullptr}});
  const auto theta = [&](const Json& changes) { return parse(with(bare, changes)).rope.theta; };
  EXPECT_EQ(theta({{"rope_theta", 5e5}}), 5e5);
  EXPECT_EQ(theta({{"rope_parameters", {{"rope_theta", 5e5}, {"rope_type", "default"}}}}), 5e5);
  EXPECT_EQ(theta({{"rope_parameters", {{"rope_theta", 5e5}}}}), 5e5);
  EXPECT_EQ(theta({{"rope_theta", 5e5}, {"rope_parameters", {{"rope_theta", 5e5}}}}), 5e5);
  // One entry per type of layer.
  EXPECT_EQ(theta({{"rope_parameters",
                    {{"full_attention", {{"rope_theta", 5e5}, {"rope_type", "default"}}},
                     {"sliding_attention", {{"rope_theta", 3e4}, {"rope_type", "default"}}}}}}),
            5e5);
  const auto nested =
      parse(with(bare, {{"rope_theta", 5e5}, {"rope_parameters", {{"full_attention", kLlama3}}}}));
  EXPECT_EQ(nested.rope.theta, 5e5);
  EXPECT_EQ(std::get<Llama3RopeScaling>(nested.rope.scaling).factor, 8.0);
  // The library's default, said.
  const ModelConfig silent = parse(bare);
  EXPECT_EQ(silent.rope.theta, 1e4);
  ASSERT_EQ(silent.notices.size(), 1u);
  EXPECT_NE(silent.notices[0].find("rope_theta"), std::string::npos);
  // The same scaling in all of its spellings.
  const Json yarn5 = with(kYarn, {{"rope_theta", 1e6}});
  const Json old = with(kYarn, {{"rope_type", nullptr}, {"type", "yarn"}});
  const Json spellings[] = {{{"rope_scaling", kYarn}},
                            {{"rope_scaling", old}},
                            {{"rope_theta", nullptr}, {"rope_parameters", yarn5}},
                            {{"rope_parameters", {{"full_attention", yarn5}}}}};
  for (const Json& spelling : spellings) {
    const ModelConfig m = parse(with(qwen(), spelling));
    const auto& yarn = std::get<YarnRopeScaling>(m.rope.scaling);
    EXPECT_EQ(m.rope.theta, 1e6) << spelling;
    EXPECT_EQ(yarn.factor, 4.0) << spelling;
    EXPECT_EQ(yarn.original_max_position, 32768) << spelling;
    EXPECT_TRUE(m.notices.empty()) << spelling;
  }
}

TEST(RopeSettings, WhatIsMissingIsAsInTheLibrary) {
  const auto yarn = [](const Json& config) {
    return std::get<YarnRopeScaling>(parse(config).rope.scaling);
  };
  const Json bare = {{"rope_type", "yarn"}, {"factor", 2.0}};
  EXPECT_EQ(yarn(scaled(bare)).original_max_position, 40960);
  // Some files have it beside the scaling.
  EXPECT_EQ(
      yarn(with(scaled(bare), {{"original_max_position_embeddings", 4096}})).original_max_position,
      4096);
  expect_refused(with(scaled(kYarn), {{"original_max_position_embeddings", 4096}}),
                 {"'original_max_position_embeddings' is 4096", "32768", "wrong one"});
  const YarnRopeScaling usual = yarn(scaled(bare));
  EXPECT_EQ(usual.beta_fast, 32);
  EXPECT_EQ(usual.beta_slow, 1);
  EXPECT_TRUE(usual.truncate);
  EXPECT_NEAR(usual.attention_factor, 1 + 0.1 * std::log(2.0), 1e-15);
  EXPECT_EQ(yarn(scaled(with(bare, {{"factor", 1.0}}))).attention_factor, 1);
  const Json zero = with(bare, {{"mscale", 0}, {"mscale_all_dim", 1.0}});
  EXPECT_EQ(yarn(scaled(zero)).attention_factor, usual.attention_factor);
  EXPECT_EQ(std::get<Llama3RopeScaling>(
                parse(scaled(with(kLlama3, {{"original_max_position_embeddings", nullptr}})))
                    .rope.scaling)
                .original_max_position,
            40960);
}

// DeepSeek-R1-0528-Qwen3-8B.
TEST(RopeSettings, AnAttnFactorIsTakenAndSaid) {
  const ModelConfig m = parse(scaled(with(kYarn, {{"attn_factor", 0.875}})));
  EXPECT_EQ(std::get<YarnRopeScaling>(m.rope.scaling).attention_factor, 0.875);
  ASSERT_EQ(m.notices.size(), 1u);
  for (const char* part :
       {"'attn_factor' of 'rope_scaling'", "attention_factor", "0.875", "1.13"}) {
    EXPECT_NE(m.notices[0].find(part), std::string::npos) << m.notices[0];
  }
  expect_refused(scaled(with(kYarn, {{"attn_factor", 0.875}, {"attention_factor", 1.0}})),
                 {"0.875", "'attention_factor' 1.0"});
}

TEST(RopeSettings, WhatIsNotComputedIsRefused) {
  for (const char* type : {"dynamic", "longrope", "su", "mrope", "other"}) {
    for (const char* key : {"type", "rope_type"}) {
      expect_refused(scaled({{key, type}, {"factor", 4.0}}),
                     {std::string("the rope scaling \"") + type + "\"", key, "rope_scaling",
                      "linear, llama3 or yarn", "model.rope_scaling"});
    }
  }
  expect_refused(scaled({{"rope_type", "dynamic"}, {"factor", 4.0}}), {"length of each text"});
  // Keys that scale, and nothing that says how.
  expect_refused(scaled({{"factor", 4.0}}), {"'factor' of 'rope_scaling'", "rope_type"});
  expect_refused(scaled({{"beta_fast", 32}}), {"'beta_fast' of 'rope_scaling'", "rope_type"});
  // Keys that say nothing, or something else.
  expect_refused(scaled({{"rope_type", "default"}, {"mrope_section", {16, 24}}}),
                 {"'mrope_section'", "default"});
  expect_refused(scaled(with(kYarn, {{"extrapolation_factor", 1}})),
                 {"'extrapolation_factor' of 'rope_scaling'", "yarn"});
  expect_refused(scaled(with(kLlama3, {{"beta_fast", 32}})), {"'beta_fast'", "llama3"});
  expect_refused(scaled({{"type", "linear"}, {"factor", 2.0}, {"truncate", false}}),
                 {"'truncate'"});
  // Values.
  expect_refused(scaled({{"type", "yarn"}}), {"'factor' of 'rope_scaling' is missing"});
  expect_refused(scaled({{"type", "linear"}, {"factor", 0.5}}), {"'factor'", "0.5"});
  expect_refused(scaled(with(kYarn, {{"factor", "4"}})), {"'factor'", "\"4\""});
  expect_refused(scaled(with(kYarn, {{"truncate", 0}})), {"'truncate'", "true or false"});
  expect_refused(scaled(with(kYarn, {{"beta_slow", 64}})), {"'beta_fast'", "beta_slow"});
  expect_refused(scaled(with(kYarn, {{"attention_factor", -1}})), {"'attention_factor'"});
  expect_refused(with(scaled(kYarn), {{"rope_theta", 1}}), {"'rope_theta'", "yarn"});
  expect_refused(scaled(with(kLlama3, {{"high_freq_factor", 1.0}})), {"'high_freq_factor'"});
  // Contradictions.
  expect_refused(scaled({{"rope_theta", 1e4}}), {"1000000", "10000", "wrong one"});
  expect_refused(with(qwen(), {{"rope_parameters", {{"rope_theta", 1e4}}}}), {"wrong one"});
  expect_refused(with(scaled(kYarn), {{"rope_parameters", kLlama3}}), {"differ"});
  expect_refused(with(qwen(), {{"rope_theta", "10000.0"}}), {"'rope_theta'", "10000.0"});
  expect_refused(
      with(qwen(), {{"rope_theta", nullptr}, {"rope_parameters", {{"rope_theta", "10000.0"}}}}),
      {"'rope_theta' of 'rope_parameters'"});
  expect_refused(
      with(qwen(), {{"rope_parameters", {{"rope_theta", 1e6}, {"partial_rotary_factor", 0.5}}}}),
      {"partial_rotary_factor"});
  expect_refused(with(qwen(), {{"rope_parameters", {{"sliding_attention", {{"factor", 1}}}}}}),
                 {"full_attention"});
}

TEST(RopeSettings, CoveredPositions) {
  const auto covered = [](const Json& keys) { return parse(scaled(keys)).covered_positions; };
  EXPECT_EQ(parse(qwen()).covered_positions, 40960);
  EXPECT_EQ(parse(config_of("Llama-3.1-8B-Instruct")).covered_positions, 131072);
  EXPECT_EQ(covered(kYarn), 131072);
  EXPECT_EQ(covered(with(kYarn, {{"factor", 1.5}})), 49152);
  EXPECT_EQ(covered({{"type", "yarn"}, {"factor", 2.0}}), 81920);
  EXPECT_EQ(covered({{"type", "linear"}, {"factor", 2.0}}), 81920);
  EXPECT_EQ(covered(with(kYarn, {{"factor", 1e300}})), (int64_t(1) << 31) - 1);
}

TEST(RopeOverride, CountsInThePlaceOfTheFolders) {
  const RopeOverride yarn =
      setting("{rope_type: yarn, factor: 2.0, original_max_position_embeddings: 32768}");
  // Whatever the folder has, even what could not be computed.
  for (const Json& keys : {Json(nullptr), kYarn, Json{{"type", "dynamic"}, {"factor", 2.0}}}) {
    const ModelConfig m = parse(scaled(keys), yarn);
    EXPECT_EQ(std::get<YarnRopeScaling>(m.rope.scaling).factor, 2.0) << keys;
    EXPECT_EQ(m.rope.theta, 1e6);
    EXPECT_EQ(m.covered_positions, 65536);
    const ModelConfig none = parse(scaled(keys), setting("none"));
    EXPECT_TRUE(std::holds_alternative<std::monostate>(none.rope.scaling)) << keys;
    EXPECT_EQ(none.covered_positions, 40960);
  }
  EXPECT_EQ(parse(scaled(kYarn), setting("auto")).covered_positions, 131072);
  EXPECT_EQ(parse(qwen(), setting("{type: linear, factor: 3, rope_theta: 2e6}")).rope.theta, 2e6);
  // It says nothing of heads that are turned in part.
  expect_fault(
      [&] {
        parse(with(qwen(), {{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}), yarn);
      },
      {"partial_rotary_factor"});
}

TEST(RopeOverride, IsCheckedWithoutAFolder) {
  const auto refused = [](const std::string& text, const std::vector<std::string>& fragments) {
    expect_fault([&] { check_rope_override(setting(text)); }, fragments);
  };
  for (const char* text : {"auto", "none", "{}", "{rope_type: default}", "{type: yarn, factor: 2}",
                           "{rope_type: yarn, factor: 2, truncate: false, mscale: 1.0}"}) {
    EXPECT_NO_THROW(check_rope_override(setting(text))) << text;
  }
  refused("{factor: 2}", {"'factor' of 'rope_scaling'", "rope_type", "model.rope_scaling"});
  refused("{rope_type: dynamic, factor: 2}", {"\"dynamic\"", "length of each text"});
  refused("{rope_type: yarn, factor: two}", {"'factor'", "\"two\""});
  refused("{rope_type: yarn, factor: 2, beta: 3}", {"'beta' of 'rope_scaling'"});
  refused("yarn", {"'yarn'", "auto, none or a map"});
  refused("{rope_type: [yarn]}", {"rope_type is a list", "here"});
}

// As it stands in a checkpoint's configuration.
TEST(RopeOverride, ReadsBackWhatItWrites) {
  for (const std::string text :
       {"auto", "none", "{factor: 2.5, rope_type: yarn, truncate: false}",
        R"({factor: 4, original_max_position_embeddings: 32768, rope_type: yarn})"}) {
    EXPECT_EQ(rope_override_text(setting(text)), text);
    EXPECT_EQ(setting(rope_override_text(setting(text))), setting(text));
  }
  // JSON is YAML.
  EXPECT_EQ(setting(R"({"rope_type": "yarn", "factor": 2.0})"),
            setting("{rope_type: yarn, factor: 2}"));
}

// What is written out is computed as what was set, by us and by the library's rules.
TEST(RopeOverride, IsWrittenIntoAConfig) {
  const RopeOverride rope = setting("{type: yarn, factor: 2, attn_factor: 1.1, truncate: false}");
  const auto written = [&](const Json& config, const RopeOverride& instead) {
    Ordered text = config;
    write_rope(text, instead, "config.json");
    return Json(text);
  };
  const Json four = written(qwen(), rope);
  EXPECT_EQ(four["rope_scaling"], Json({{"rope_type", "yarn"},
                                        {"factor", 2.0},
                                        {"attention_factor", 1.1},
                                        {"truncate", false},
                                        {"original_max_position_embeddings", 40960}}));
  EXPECT_EQ(four["max_position_embeddings"], 81920);
  EXPECT_FALSE(four.contains("rope_parameters"));
  const Json theta = {{"rope_theta", 1e6}, {"rope_type", "default"}};
  const Json five = written(
      with(qwen(),
           {{"rope_theta", nullptr}, {"rope_scaling", nullptr}, {"rope_parameters", theta}}),
      rope);
  EXPECT_EQ(five["rope_parameters"], with(four["rope_scaling"], {{"rope_theta", 1e6}}));
  EXPECT_FALSE(five.contains("rope_scaling"));
  for (const Json& config : {four, five}) {
    const ModelConfig m = parse(config), set = parse(qwen(), rope);
    EXPECT_TRUE(m.notices.empty());
    EXPECT_EQ(rope_fingerprint(m.rope), rope_fingerprint(set.rope));
    EXPECT_EQ(m.covered_positions, set.covered_positions);
  }
  const Json none = written(scaled(kYarn), setting("none"));
  EXPECT_TRUE(none["rope_scaling"].is_null());
  EXPECT_EQ(none["max_position_embeddings"], 40960);
  EXPECT_EQ(written(scaled(kYarn), {}), scaled(kYarn));
}

// Fingerprints tell positions apart, by what is computed and not by how it is written.
TEST(RopeOverride, ChangesTheFingerprint) {
  const std::string folder = std::string(ELASTRON_TEST_FIXTURES) + "/decoder";
  const auto fingerprint = [&](const std::string& text) {
    const ModelFolder model(folder, setting(text));
    const std::string sums = model.tensor_checksums(0, 1);
    return model.fingerprint(std::span(&sums, 1));
  };
  const std::string yarn = "{rope_type: yarn, factor: 2, original_max_position_embeddings: 128";
  EXPECT_EQ(fingerprint("auto"), fingerprint("none"));
  EXPECT_EQ(fingerprint("auto"), fingerprint("{rope_type: default}"));
  EXPECT_EQ(fingerprint(yarn + "}"), fingerprint("{type: yarn, factor: 2}"));
  EXPECT_EQ(fingerprint(yarn + "}"), fingerprint(yarn + ", beta_fast: 32, truncate: true}"));
  std::set<std::string> all;
  for (const std::string& text :
       {std::string("none"), yarn + "}", yarn + ", attention_factor: 1}", yarn + ", beta_fast: 16}",
        yarn + ", beta_slow: 2}", yarn + ", truncate: false}",
        std::string("{type: yarn, factor: 4}"), std::string("{type: linear, factor: 2}"),
        std::string("{type: linear, factor: 4}"),
        std::string("{type: yarn, factor: 2, original_max_position_embeddings: 64}")}) {
    EXPECT_TRUE(all.insert(fingerprint(text)).second) << text;
  }
}

}  // namespace
}  // namespace elastron::model
