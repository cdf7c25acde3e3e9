// The shortcodes of Slack that people and bots usually type. An unknown one is shown as typed.

const TABLE = `
+1 👍|thumbsup 👍|-1 👎|thumbsdown 👎|ok_hand 👌|clap 👏|wave 👋|raised_hands 🙌|pray 🙏|muscle 💪|point_right 👉|
point_left 👈|point_up ☝️|point_down 👇|raised_hand ✋|hand ✋|v ✌️|crossed_fingers 🤞|handshake 🤝|eyes 👀|brain 🧠|
smile 😄|smiley 😃|grinning 😀|grin 😁|joy 😂|laughing 😆|sweat_smile 😅|wink 😉|blush 😊|slightly_smiling_face 🙂|
upside_down_face 🙃|heart_eyes 😍|sunglasses 😎|thinking_face 🤔|neutral_face 😐|expressionless 😑|confused 😕|
worried 😟|disappointed 😞|cry 😢|sob 😭|scream 😱|fearful 😨|cold_sweat 😰|sweat 😓|angry 😠|rage 😡|sleeping 😴|
face_with_monocle 🧐|exploding_head 🤯|partying_face 🥳|robot_face 🤖|ghost 👻|skull 💀|see_no_evil 🙈|melting_face 🫠|
heart ❤️|broken_heart 💔|yellow_heart 💛|green_heart 💚|blue_heart 💙|purple_heart 💜|100 💯|sparkles ✨|star ⭐|star2 🌟|
fire 🔥|boom 💥|zap ⚡|collision 💥|tada 🎉|confetti_ball 🎊|balloon 🎈|gift 🎁|trophy 🏆|medal 🏅|dart 🎯|
rocket 🚀|airplane ✈️|ship 🚢|anchor ⚓|construction 🚧|rotating_light 🚨|traffic_light 🚥|vertical_traffic_light 🚦|
white_check_mark ✅|heavy_check_mark ✔️|ballot_box_with_check ☑️|x ❌|negative_squared_cross_mark ❎|no_entry ⛔|
no_entry_sign 🚫|warning ⚠️|exclamation ❗|heavy_exclamation_mark ❗|bangbang ‼️|question ❓|grey_question ❔|
interrobang ⁉️|sos 🆘|stop_sign 🛑|octagonal_sign 🛑|information_source ℹ️|red_circle 🔴|large_orange_circle 🟠|
large_yellow_circle 🟡|large_green_circle 🟢|large_blue_circle 🔵|large_purple_circle 🟣|white_circle ⚪|
black_circle ⚫|large_red_square 🟥|large_green_square 🟩|large_yellow_square 🟨|
hourglass ⌛|hourglass_flowing_sand ⏳|alarm_clock ⏰|stopwatch ⏱️|timer_clock ⏲️|clock1 🕐|clock3 🕒|clock9 🕘|watch ⌚|
calendar 📆|date 📅|spiral_calendar_pad 🗓️|pushpin 📌|round_pushpin 📍|paperclip 📎|link 🔗|scissors ✂️|
memo 📝|pencil 📝|pencil2 ✏️|clipboard 📋|page_facing_up 📄|page_with_curl 📃|bookmark 🔖|bookmark_tabs 📑|books 📚|
book 📖|ledger 📒|notebook 📓|newspaper 📰|file_folder 📁|open_file_folder 📂|card_index_dividers 🗂️|inbox_tray 📥|
outbox_tray 📤|package 📦|mailbox 📫|email 📧|envelope ✉️|incoming_envelope 📨|speech_balloon 💬|thought_balloon 💭|
loudspeaker 📢|mega 📣|bell 🔔|no_bell 🔕|telephone_receiver 📞|phone ☎️|iphone 📱|pager 📟|computer 💻|
desktop_computer 🖥️|keyboard ⌨️|printer 🖨️|floppy_disk 💾|cd 💿|battery 🔋|electric_plug 🔌|bulb 💡|flashlight 🔦|
mag 🔍|mag_right 🔎|microscope 🔬|telescope 🔭|satellite 🛰️|satellite_antenna 📡|chart_with_upwards_trend 📈|
chart_with_downwards_trend 📉|bar_chart 📊|abacus 🧮|lock 🔒|unlock 🔓|closed_lock_with_key 🔐|key 🔑|shield 🛡️|
hammer 🔨|wrench 🔧|hammer_and_wrench 🛠️|gear ⚙️|nut_and_bolt 🔩|toolbox 🧰|axe 🪓|bricks 🧱|test_tube 🧪|
adhesive_bandage 🩹|stethoscope 🩺|pill 💊|ambulance 🚑|fire_engine 🚒|police_car 🚓|helicopter 🚁|jigsaw 🧩|
bug 🐛|beetle 🪲|ant 🐜|spider 🕷️|snail 🐌|turtle 🐢|snake 🐍|whale 🐳|octopus 🐙|cat 🐱|dog 🐶|unicorn_face 🦄|
coffee ☕|tea 🍵|beer 🍺|beers 🍻|pizza 🍕|cake 🍰|taco 🌮|hot_pepper 🌶️|popcorn 🍿|
sunny ☀️|cloud ☁️|rain_cloud 🌧️|thunder_cloud_and_rain ⛈️|snowflake ❄️|ocean 🌊|rainbow 🌈|earth_americas 🌎|
globe_with_meridians 🌐|world_map 🗺️|compass 🧭|checkered_flag 🏁|triangular_flag_on_post 🚩|white_flag 🏳️|
arrow_up ⬆️|arrow_down ⬇️|arrow_left ⬅️|arrow_right ➡️|arrow_upper_right ↗️|arrow_lower_right ↘️|
arrows_counterclockwise 🔄|repeat 🔁|leftwards_arrow_with_hook ↩️|arrow_right_hook ↪️|rewind ⏪|fast_forward ⏩|
arrow_forward ▶️|double_vertical_bar ⏸️|black_square_for_stop ⏹️|heavy_plus_sign ➕|heavy_minus_sign ➖|
one 1️⃣|two 2️⃣|three 3️⃣|four 4️⃣|five 5️⃣|mortar_board 🎓|shrug 🤷|facepalm 🤦|technologist 🧑‍💻|busts_in_silhouette 👥|
bust_in_silhouette 👤|runner 🏃|firefighter 🧑‍🚒|sleuth_or_spy 🕵️|crystal_ball 🔮|game_die 🎲|recycle ♻️|snowman ⛄
`;

const CHARACTERS = new Map(
  TABLE.split("|").map((entry) => {
    const [name, character] = entry.trim().split(" ");
    return [name, character];
  }),
);
const SKIN = { 2: "🏻", 3: "🏼", 4: "🏽", 5: "🏾", 6: "🏿" };
const SHORTCODE = /:([a-z0-9_+'-]+(?:::skin-tone-[2-6])?):/g;

/** The character of a shortcode's name, or null. */
export function character(name) {
  const [base, tone] = name.split("::skin-tone-");
  const found = CHARACTERS.get(base);
  return found ? found + (SKIN[tone] ?? "") : null;
}

/** The text with the shortcodes that are known as characters. */
export function emojified(text) {
  return text.replace(SHORTCODE, (whole, name) => character(name) ?? whole);
}

/** Names that begin with, else contain, these letters. */
export function emojiNamed(letters, most = 8) {
  const names = [...CHARACTERS.keys()];
  const begins = names.filter((name) => name.startsWith(letters));
  const contains = names.filter((name) => name.includes(letters) && !name.startsWith(letters));
  return [...begins, ...contains].slice(0, most);
}

/** What is offered for reactions: 📌 first, because the bot listens to it. */
export const REACTIONS = [
  "pushpin", "eyes", "white_check_mark", "+1", "pray", "raised_hands", "fire", "rotating_light",
  "thinking_face", "tada", "heart", "bulb", "rocket", "x", "hourglass_flowing_sand", "joy",
];
