#include "reward/trace_language.h"

#include <algorithm>
#include <array>
#include <utility>

namespace elastron::reward {

namespace {

constexpr std::array<std::string_view, 48> kNames = {
    "Alice",  "Bruno", "Clara",  "David",  "Elena",  "Felix",  "Grace", "Hugo",   "Irene", "Jonas",
    "Karin",  "Laura", "Marco",  "Nadia",  "Oscar",  "Paula",  "Quinn", "Rosa",   "Simon", "Tanja",
    "Ulrich", "Vera",  "Walter", "Xenia",  "Yusuf",  "Zoe",    "Bella", "Carl",   "Diana", "Emil",
    "Frieda", "Georg", "Hanna",  "Ivan",   "Judith", "Kevin",  "Lydia", "Martin", "Nora",  "Otto",
    "Petra",  "Ralf",  "Sonja",  "Thomas", "Ursula", "Viktor", "Wanda", "Zara"};
constexpr std::array<std::string_view, 48> kPlaces = {
    "attic",     "bakery",    "cellar",     "garage",  "garden",     "hallway",  "kitchen",
    "library",   "market",    "museum",     "office",  "orchard",    "park",     "pharmacy",
    "school",    "stable",    "studio",     "theatre", "workshop",   "bathroom", "bedroom",
    "balcony",   "church",    "harbour",    "hotel",   "station",    "stadium",  "tower",
    "factory",   "chapel",    "castle",     "mill",    "airport",    "barn",     "bank",
    "cinema",    "cafeteria", "clinic",     "gallery", "greenhouse", "laundry",  "meadow",
    "monastery", "pantry",    "playground", "quarry",  "vineyard",   "zoo"};
static_assert(kNames.size() == kPlaces.size());
// Verbs of sentences on people who move somewhere, of five words with their name and the place.
constexpr std::array<std::string_view, 6> kMoves = {"moved",   "went",      "walked",
                                                    "hurried", "travelled", "headed"};

// Running text: (when) who did what. None of it names anyone, or a place of the story.
constexpr std::array<std::string_view, 16> kWhen = {"",
                                                    "",
                                                    "",
                                                    "",
                                                    "In the morning",
                                                    "After lunch",
                                                    "A little later",
                                                    "Towards evening",
                                                    "For a while",
                                                    "On the way",
                                                    "Not long ago",
                                                    "As usual",
                                                    "To nobody's surprise",
                                                    "Once again",
                                                    "At half past four",
                                                    "Before it got dark"};
constexpr std::array<std::string_view, 24> kWho = {
    "the postman",       "a neighbour",       "an old friend", "the dog next door",
    "somebody",          "the new teacher",   "a tall man",    "the children",
    "a young couple",    "the bus driver",    "nobody",        "an elderly lady",
    "the night nurse",   "a passing cyclist", "the twins",     "a travelling salesman",
    "the caretaker",     "two strangers",     "a small boy",   "the local reporter",
    "one of the guests", "the choir",         "a tired clerk", "the whole family"};
constexpr std::array<std::string_view, 32> kDid = {"talked about the weather",
                                                   "left a window open",
                                                   "read the newspaper twice",
                                                   "forgot an umbrella",
                                                   "laughed at an old joke",
                                                   "asked for the time",
                                                   "waited for a parcel",
                                                   "lost a glove",
                                                   "fed the pigeons",
                                                   "hummed a tune",
                                                   "mended a broken chair",
                                                   "wrote a long letter",
                                                   "counted the coins again",
                                                   "complained about the noise",
                                                   "drank a cup of tea",
                                                   "looked for the missing key",
                                                   "slept badly",
                                                   "watched the rain",
                                                   "missed the last train",
                                                   "admired the new curtains",
                                                   "painted a fence",
                                                   "told the same story",
                                                   "ordered soup",
                                                   "wound up the clock",
                                                   "took a photograph",
                                                   "planned a journey abroad",
                                                   "practised the piano",
                                                   "paid a small fine",
                                                   "polished an old lamp",
                                                   "dreamt of the sea",
                                                   "cleaned a pair of boots",
                                                   "spoke about the election"};
constexpr int64_t kLongestSentence = 4 + 4 + 5;  // when, who, did
constexpr uint32_t kCodedWords = 32;             // of each sort in the synthetic vocabulary
constexpr uint32_t kCodedHeadings = 16;
constexpr uint32_t kCodedRemark = 3;  // words, at most

template <size_t N>
std::string_view one_of(const std::array<std::string_view, N>& all, RandomStream& random) {
  return all[random.next_below(uint32_t(N))];
}

std::string coded(std::string_view stem, uint32_t i) {
  return std::string(stem) + std::to_string(i);
}

void everyday(TraceText& to, RandomStream& random) {
  const std::string_view when = one_of(kWhen, random), who = one_of(kWho, random),
                         did = one_of(kDid, random);
  std::string sentence(when);
  if (!when.empty()) sentence += ", ";
  sentence.append(who).append(" ").append(did).append(".");
  if (when.empty()) sentence[0] = char(sentence[0] - 'a' + 'A');
  to.add_words(sentence);
}

}  // namespace

int64_t word_count(const std::string& text) {
  if (text.empty()) return 0;
  return 1 + std::ranges::count_if(text, [](char c) { return c == ' ' || c == '\n'; });
}

void TraceText::add(std::string_view word) {
  if (!text_.empty()) text_ += line_ended_ ? '\n' : ' ';
  text_ += word;
  line_ended_ = false;
  ++words_;
}

void TraceText::add_words(std::string_view words) {
  while (!words.empty()) {
    const size_t end = words.find(' ');
    add(words.substr(0, end));
    words = end == words.npos ? std::string_view{} : words.substr(end + 1);
  }
}

uint32_t TraceLanguage::names() const { return english_ ? uint32_t(kNames.size()) : kCodedWords; }
int64_t TraceLanguage::most_sections() const { return english_ ? 64 : kCodedHeadings; }
int64_t TraceLanguage::longest_remark() const { return english_ ? kLongestSentence : kCodedRemark; }

void TraceLanguage::section(TraceText& to, uint32_t number) const {
  if (english_) {
    to.end_line();
    to.add_words("Section " + std::to_string(number + 1) + ".");
  } else {
    to.add("topic");
    to.add(coded("s", number));
  }
}

void TraceLanguage::fact(TraceText& to, RandomStream& random, uint32_t entity,
                         uint32_t value) const {
  if (!english_) return entry(to, entity, value);
  to.add(kNames[entity]);
  to.add(one_of(kMoves, random));
  to.add_words("to the");
  to.add(std::string(kPlaces[value]) + ".");
}

void TraceLanguage::noise_until(TraceText& to, RandomStream& random, int64_t words) const {
  if (english_) {
    while (to.words() + kLongestSentence / 2 <= words) everyday(to, random);
  } else {
    while (to.words() < words) to.add(coded("n", random.next_below(kCodedWords)));
  }
}

void TraceLanguage::task(TraceText& to, std::span<const uint32_t> cast) const {
  if (english_) {
    to.end_line();
    std::string names;
    for (size_t i = 0; i < cast.size(); ++i) {
      if (i > 0) names += i + 1 == cast.size() ? " and " : ", ";
      names += kNames[cast[i]];
    }
    to.add_words("Keep track of where " + names + " are, and of nobody else.");
  } else {
    for (const uint32_t entity : cast) {
      to.add("holds");
      to.add(coded("k", entity));
    }
  }
}

void TraceLanguage::question(TraceText& to, uint32_t entity) const {
  if (english_) {
    to.add_words("Where is " + std::string(kNames[entity]) + " now?");
  } else {
    to.add_words("lookup key");
    to.add(coded("k", entity));
  }
}

void TraceLanguage::memory(TraceText& to, uint32_t number) const {
  if (english_) {
    to.end_line();
    to.add_words("Memory " + std::to_string(number + 1) + ":");
  } else {
    to.add("next");
    to.add(coded("s", number));
  }
}

void TraceLanguage::branch(TraceText& to, uint32_t number) const {
  if (english_) {
    to.end_line();
    to.add_words("Part " + std::to_string(number + 1) + ":");
  } else {
    to.add("about");
    to.add(coded("s", number));
  }
}

void TraceLanguage::merged(TraceText& to) const {
  if (english_) to.end_line();
  to.add_words(english_ ? "Merged memory:" : "again");
}

void TraceLanguage::entry(TraceText& to, uint32_t entity, uint32_t value) const {
  if (english_) {
    to.add(kNames[entity]);
    to.add_words("is in the");
    to.add(std::string(kPlaces[value]) + ".");
  } else {
    to.add(coded("k", entity));
    to.add(coded("v", value));
    to.add(".");
  }
}

void TraceLanguage::no_entry(TraceText& to) const {
  to.add_words(english_ ? "Nothing is known." : ".");
}

void TraceLanguage::remark(TraceText& to, RandomStream& random) const {
  if (english_) {
    if (random.next_below(2) == 0) everyday(to, random);
  } else {
    noise_until(to, random, to.words() + random.next_below(kCodedRemark + 1));
  }
}

void TraceLanguage::answer(TraceText& to, uint32_t entity, uint32_t value) const {
  if (english_) to.end_line();
  to.add(english_ ? "Answer:" : "answer");
  entry(to, entity, value);
}

}  // namespace elastron::reward
