// router.preset gives defaults to the keys that nobody wrote; what is written wins, wherever it
// stands. router.hidden_mult, which older configurations have, becomes widths.
#include <gtest/gtest.h>

#include "core/error.h"
#include "router/config.h"
#include "tests/support/scratch.h"

namespace elastron::router {
namespace {

using Widths = std::vector<int64_t>;

RouterConfig parse(const std::string& text) {
  return config::parse_config<RouterConfig>(text, "x.yaml");
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Preset, ElasticIsTheDefaults) {
  const std::string defaults = config::dump_config(RouterConfig{});
  EXPECT_EQ(config::dump_config(parse("")), defaults);
  EXPECT_EQ(config::dump_config(parse("preset: elastic")), defaults);
  EXPECT_EQ(config::dump_config(RouterConfig::of(Preset::elastic)), defaults);
}

// docs/method.md, Routing by layer.
TEST(Preset, FluxIsItsTable) {
  const RouterConfig c = parse("preset: flux");
  EXPECT_EQ(c.granularity, Granularity::layer);
  EXPECT_EQ(c.input, RouterInput::query);
  EXPECT_EQ(c.pool_budget, 150);
  EXPECT_EQ(c.task_widths, (Widths{8, 2}));
  EXPECT_EQ(c.widths, (Widths{4, 1}));
  EXPECT_EQ(c.init, Init::full);
  EXPECT_EQ(c.reg.t_sen, 0.45);
  EXPECT_EQ(c.reg.t_rob, 1.0);
  // The same as a program makes it, and nothing else is touched.
  EXPECT_EQ(config::dump_config(c), config::dump_config(RouterConfig::of(Preset::flux)));
  std::vector<std::string> keys;
  for (const auto& d : config::config_differences(RouterConfig{}, c)) keys.push_back(d.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"preset", "granularity", "input", "pool_budget",
                                            "task_widths", "init", "reg.t_sen"}));
}

TEST(Preset, WhatIsWrittenWinsWhereverItStands) {
  // A written key keeps even the value of the other preset.
  for (const char* text : {"{preset: flux, pool_budget: 100, widths: [2, 1], reg: {t_rob: 0.9}}",
                           "{reg: {t_rob: 0.9}, widths: [2, 1], pool_budget: 100, preset: flux}"}) {
    const RouterConfig c = parse(text);
    EXPECT_EQ(c.pool_budget, 100);
    EXPECT_EQ(c.widths, (Widths{2, 1}));
    EXPECT_EQ(c.task_widths, (Widths{8, 2}));
    EXPECT_EQ(c.reg.t_rob, 0.9);
    EXPECT_EQ(c.reg.t_sen, 0.45);
  }
  // From files and the command line, in any order.
  const test::Scratch scratch;
  const std::string preset = scratch.write("preset.yaml", "preset: flux\n");
  const std::string own = scratch.write("own.yaml", "granularity: head\ninit: normal\n");
  using Strings = std::vector<std::string>;
  const auto load = [](const Strings& files, const Strings& overrides) {
    return config::dump_config(config::load_config<RouterConfig>(files, overrides));
  };
  RouterConfig want = RouterConfig::of(Preset::flux);
  want.granularity = Granularity::head;
  want.init = Init::normal;
  EXPECT_EQ(load({preset, own}, {}), config::dump_config(want));
  EXPECT_EQ(load({own, preset}, {}), config::dump_config(want));
  EXPECT_EQ(load({own}, {"preset=flux"}), config::dump_config(want));
  EXPECT_EQ(load({preset}, {"init=normal", "granularity=head"}), config::dump_config(want));
  EXPECT_EQ(load({}, {"init=normal", "preset=flux", "granularity=head"}),
            config::dump_config(want));
}

TEST(Preset, OriginsSayWhereAValueIsFrom) {
  config::Origins origins;
  const RouterConfig c =
      config::parse_config<RouterConfig>("{preset: flux, pool_budget: 7}", "x.yaml", &origins);
  EXPECT_EQ(origins.of("input"), "router.preset flux");
  EXPECT_EQ(origins.of("reg.t_sen"), "router.preset flux");
  EXPECT_EQ(origins.of("pool_budget"), "x.yaml:1");
  EXPECT_EQ(origins.of("widths"), "default");
  // A dump is settled: it reads as the same, its preset or not.
  const std::string dump = config::dump_config(c);
  EXPECT_EQ(config::dump_config(parse(dump)), dump);
  RouterConfig renamed = c;
  renamed.preset = Preset::elastic;
  EXPECT_EQ(config::dump_config(parse(config::dump_config(renamed))), config::dump_config(renamed));
}

TEST(HiddenMult, IsShortForTheFirstWidths) {
  for (const char* text : {"hidden_mult: 2", "hidden_mult: 2\npreset: elastic"}) {
    const RouterConfig c = parse(text);
    EXPECT_EQ(c.task_widths, (Widths{2, 1}));
    EXPECT_EQ(c.widths, (Widths{2, 1}));
    EXPECT_FALSE(c.hidden_mult);
  }
  const RouterConfig flux = parse("{preset: flux, hidden_mult: 3}");
  EXPECT_EQ(flux.task_widths, (Widths{3, 2}));
  EXPECT_EQ(flux.widths, (Widths{3, 1}));
  EXPECT_EQ(parse("{hidden_mult: 3, widths: [5, 2]}").widths, (Widths{5, 2}));
  EXPECT_EQ(parse("{hidden_mult: 3, widths: [5, 2]}").task_widths, (Widths{3, 1}));
  EXPECT_NE(refusal("{hidden_mult: 3, widths: [5, 2], task_widths: [4, 1]}").find("hidden_mult"),
            std::string::npos);
}

TEST(RouterWidths, OthersAreRefused) {
  EXPECT_NE(refusal("widths: [4]").find("two widths"), std::string::npos);
  EXPECT_NE(refusal("task_widths: [4, 1, 1]").find("two widths"), std::string::npos);
  EXPECT_NE(refusal("task_widths: [4, 0]").find("task_widths[1]"), std::string::npos);
  EXPECT_NE(refusal("widths: [1000, 1]").find("widths[0]"), std::string::npos);
  EXPECT_NE(refusal("{kind: static-l0, granularity: layer}").find("static masks"),
            std::string::npos);
  EXPECT_NE(refusal("{kind: static-l0, preset: flux}").find("granularity"), std::string::npos);
}

}  // namespace
}  // namespace elastron::router
