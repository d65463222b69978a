#include "benchmark/synthetic/lexicon.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace elastron::benchmark {

namespace {

using Words = std::array<std::string_view, 40>;

constexpr Words kAdjectives = {
    "amber",   "brisk",  "calm",   "damp",   "early",  "faded",  "gentle", "hollow",
    "idle",    "jagged", "keen",   "lively", "mellow", "narrow", "opaque", "pale",
    "quiet",   "rusty",  "sober",  "tidy",   "uneven", "vivid",  "wary",   "young",
    "zealous", "blunt",  "crisp",  "dusty",  "eager",  "frosty", "grave",  "humble",
    "inky",    "jolly",  "knotty", "lofty",  "misty",  "nimble", "oaken",  "plain"};
constexpr Words kNouns = {
    "lantern", "anchor",  "basket", "candle", "drawer", "engine",   "feather", "garden",
    "hammer",  "island",  "jacket", "kettle", "ladder", "mirror",   "needle",  "orchard",
    "pillow",  "quarry",  "ribbon", "saddle", "tunnel", "umbrella", "valley",  "wagon",
    "anvil",   "bridge",  "cellar", "ditch",  "elbow",  "fence",    "glove",   "harbour",
    "inkwell", "journal", "kiln",   "locker", "meadow", "notebook", "oven",    "paddle"};
constexpr Words kFirstNames = {
    "Mira",  "Oskar", "Tilda", "Renzo", "Halina", "Joris", "Edda",  "Bruno", "Noor",   "Casper",
    "Livia", "Matti", "Ines",  "Pavel", "Greta",  "Tomas", "Selma", "Igor",  "Vera",   "Lars",
    "Ada",   "Emil",  "Runa",  "Felix", "Zofia",  "Anton", "Klara", "Milan", "Thea",   "Viktor",
    "Elin",  "Boris", "Nadia", "Henk",  "Olga",   "Piet",  "Sanna", "Ruben", "Yvonne", "Kurt"};
constexpr Words kLastNames = {
    "Toldan", "Breck",  "Ostrin",  "Varga",  "Hollin", "Kessel",  "Marrow", "Dunst",
    "Pellan", "Rask",   "Sorvik",  "Tamsin", "Ulmer",  "Wendt",   "Yarrow", "Zeller",
    "Aldane", "Bosk",   "Corrin",  "Delmar", "Eskil",  "Farrow",  "Gant",   "Hedley",
    "Ivars",  "Jessop", "Kolbe",   "Lomax",  "Merrin", "Norling", "Orrick", "Prewitt",
    "Quill",  "Rosen",  "Stannar", "Thorpe", "Urban",  "Vance",   "Winter", "Yelland"};
constexpr Words kTrades = {
    "baker",     "cooper",     "dyer",        "farrier",     "glazier",    "joiner",    "mason",
    "miller",    "potter",     "roofer",      "saddler",     "tailor",     "tanner",    "thatcher",
    "tinsmith",  "turner",     "weaver",      "wheelwright", "bookbinder", "brewer",    "carpenter",
    "chandler",  "clockmaker", "cutler",      "engraver",    "gardener",   "hatter",    "jeweller",
    "locksmith", "painter",    "papermaker",  "plumber",     "printer",    "ropemaker", "sailmaker",
    "shoemaker", "smith",      "stonecutter", "tiler",       "upholsterer"};
constexpr Words kVerbs = {
    "carried",   "measured", "painted", "repaired", "followed", "counted",    "borrowed", "covered",
    "described", "emptied",  "folded",  "guarded",  "hid",      "inspected",  "joined",   "kept",
    "lifted",    "moved",    "noticed", "opened",   "packed",   "questioned", "raised",   "sorted",
    "traded",    "untied",   "visited", "washed",   "weighed",  "admired",    "built",    "cleaned",
    "drew",      "examined", "fetched", "gathered", "hauled",   "imagined",   "labelled", "mended"};

constexpr std::string_view kConsonants = "bdfgklmnprstvwz";  // 15, by five vowels: 75 syllables
constexpr std::string_view kVowels = "aeiou";

std::string_view of(const Words& words, uint32_t number) { return words[number % words.size()]; }

std::string syllable(uint32_t number) {
  return {kConsonants[number / kVowels.size() % kConsonants.size()],
          kVowels[number % kVowels.size()]};
}

}  // namespace

std::string made_up_word(uint32_t number) {
  return syllable(number % 75) + syllable(number / 75 % 75) + syllable(number / 75 / 75 % 75);
}

std::string key_word(uint32_t number) {
  return fmt::format("{}-{}", of(kAdjectives, number), of(kNouns, number / 40));
}

std::string long_key_word(uint32_t number) {
  return fmt::format("{}-{}", of(kAdjectives, number), made_up_word(number / 40));
}

std::string person(uint32_t number) {
  return fmt::format("{} {}. {}", of(kFirstNames, number), char('A' + number / 40 % 26),
                     of(kLastNames, number / 40 / 26));
}

std::string trade(uint32_t number) { return std::string(of(kTrades, number)); }

std::string essay_sentence(const uint32_t (&bits)[6]) {
  const auto a = of(kAdjectives, bits[0]), b = of(kAdjectives, bits[1]);
  const auto x = of(kNouns, bits[2]), y = of(kNouns, bits[3]);
  const auto verb = of(kVerbs, bits[4]);
  const auto who = of(kTrades, bits[5] / 8);
  switch (bits[5] % 5) {
    case 0: return fmt::format("The {} {} the {} {} beside the {} {}.", who, verb, a, x, b, y);
    case 1:
      return fmt::format("On most mornings a {} {} stood nearer to the {} than to the road.", a, x,
                         y);
    case 2:
      return fmt::format("Nobody remembers why the {} {} a {} {} before the {} one.", who, verb, a,
                         x, b);
    case 3:
      return fmt::format("Behind every {} {} there is a {} who {} the {} first.", a, x, who, verb,
                         y);
    default: return fmt::format("What the {} {} that year was {} rather than {}.", who, verb, a, b);
  }
}

std::string noise_sentence(uint64_t number) {
  static constexpr std::array<std::string_view, 5> kSentences = {
      "Snow fell on the roofs all day.", "The river ran past the mill.",
      "A clock ticked in the hall.", "Somebody swept the yard again.",
      "The evening came as it always did."};
  return std::string(kSentences[number % kSentences.size()]);
}

}  // namespace elastron::benchmark
