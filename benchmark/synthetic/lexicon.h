// Words and sentences that the synthetic tasks are made of. Each is a pure function of the numbers
// it is asked by.
#pragma once
#include <cstdint>
#include <string>

namespace elastron::benchmark {

// Made-up words of three syllables, six letters each, no two alike below kMadeUpWords.
inline constexpr uint32_t kMadeUpWords = 75 * 75 * 75;
std::string made_up_word(uint32_t number);

// "amber-lantern": no two alike below kKeys.
inline constexpr uint32_t kKeys = 40 * 40;
std::string key_word(uint32_t number);
// "amber-kalume": no two alike below 40 * kMadeUpWords.
std::string long_key_word(uint32_t number);

// "Mira B. Toldan": no two alike below kPeople.
inline constexpr uint32_t kPeople = 40 * 26 * 40;
std::string person(uint32_t number);
std::string trade(uint32_t number);

// A sentence of an essay, of six random words.
std::string essay_sentence(const uint32_t (&bits)[6]);
// The same few sentences again and again.
std::string noise_sentence(uint64_t number);

}  // namespace elastron::benchmark
