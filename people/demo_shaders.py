"""What the graphics side of the demo people computes: one vertex program, and a fragment program per material.

The four extra values of a vertex mean something else for each material: see the comments there.
"""

VERTEX = """
#version 330
in vec3 place; in vec3 normal; in vec3 rest; in vec4 extra;
uniform mat4 view; uniform mat4 turn; uniform mat4 sun; uniform vec3 eye;
out vec3 P; out vec3 N; out vec3 R; out vec4 X; out vec4 S;
void main() {
    vec3 at = (turn * vec4(place, 1)).xyz, along = mat3(turn) * normal;
#ifdef HAIR  // normal is the hair's direction, extra = (0 root..1 tip, width with side, tone, kind)
    at += normalize(cross(along, eye - at)) * extra.y;
#endif
    P = at; N = along; R = rest; X = extra; S = sun * vec4(at, 1);
#ifdef HAIR
    R = mat3(turn) * rest;
#endif
    gl_Position = view * vec4(at, 1);
}
"""

COMMON = """
#version 330
in vec3 P; in vec3 N; in vec3 R; in vec4 X; in vec4 S;
uniform vec3 eye; uniform vec3 key; uniform vec3 key_colour; uniform vec3 sky; uniform float room_light;
uniform sampler2DShadow shadow; uniform sampler2D paint;
uniform vec3 tint0; uniform vec3 tint1; uniform vec4 knob;
out vec4 colour;
const vec3 FILL = vec3(0.80, 0.05, 0.60), RIM = vec3(-0.75, 0.45, -0.48);
#define FILL_COLOUR (room_light * vec3(0.34, 0.37, 0.42))
vec3 linear(vec3 c) { return pow(c, vec3(2.2)); }
float lit() {  // share of the key light that arrives, from taps on a spiral
    vec3 s = S.xyz / S.w * 0.5 + 0.5; float sum = 0.0;
    for (int i = 0; i < TAPS; i++) {
        float a = 2.4 * float(i), r = 0.0062 * sqrt((float(i) + 0.5) / float(TAPS));
        sum += texture(shadow, vec3(s.xy + r * vec2(cos(a), sin(a)), s.z - 0.0035));
    }
    return sum / float(TAPS);
}
vec3 around(vec3 n) {  // soft light of a room: ceiling, walls, floor, and a bright wall behind the camera
    return room_light * (mix(vec3(0.20, 0.17, 0.15), sky, n.y * 0.5 + 0.5) + vec3(0.16) * max(n.z, 0.0));
}
float gloss(vec3 n, vec3 l, vec3 v, float rough, float f0) {
    vec3 h = normalize(l + v); float a = rough * rough, nh = max(dot(n, h), 0.0), d = nh * nh * (a * a - 1.0) + 1.0;
    float f = f0 + (1.0 - f0) * pow(1.0 - max(dot(h, v), 0.0), 5.0);
    float nl = max(dot(n, l), 0.0), nv = max(dot(n, v), 0.05), k = a * 0.5;
    return a * a / (3.14 * d * d) * f * nl / (4.0 * (nl * (1.0 - k) + k) * (nv * (1.0 - k) + k) + 0.02);
}
vec3 wrapped(vec3 n, vec3 l, vec3 w) {  // light that goes around edges by w, as it does in skin
    vec3 d = max((dot(n, l) + w) / (1.0 + w), 0.0); return d * d * (1.0 - w) + d * w;
}
vec3 shade(vec3 albedo, vec3 n, float ao, float rough, float f0, vec3 wrap) {
    vec3 v = normalize(eye - P); float arrives = lit();
    vec3 sun = key_colour * pow(vec3(arrives), vec3(1.0) - 0.8 * wrap);
    vec3 hue = pow(vec3(ao), vec3(1.0) - 0.6 * wrap);  // light in folds of skin is reddish
    vec3 fill = normalize(FILL), room = FILL_COLOUR * wrapped(n, fill, wrap) + around(n);
    vec3 sum = albedo * (sun * wrapped(n, key, wrap) + hue * room);
    float rim = pow(1.0 - max(dot(n, v), 0.0), 3.0) * max(dot(n, normalize(RIM)), 0.0);
    rim *= smoothstep(0.004, 0.05, albedo.g);
    return sum + key_colour * arrives * gloss(n, key, v, rough, f0) + ao * FILL_COLOUR * gloss(n, fill, v, rough, f0)
        + room_light * ao * 0.5 * rim * vec3(0.9, 0.95, 1.0) + ao * around(reflect(-v, n)) * f0 * 0.6;
}
void finish(vec3 c, float a) {
    c *= 1.12; c = c * (1.0 + c / 3.2) / (1.0 + c * 0.55);  // shoulder for the highlights
    colour = vec4(pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2)), a);
}
float hash(float n) { return fract(sin(n * 12.9898) * 43758.547); }
float soft(float x) { float i = floor(x), f = x - i; return mix(hash(i), hash(i + 1.0), f * f * (3.0 - 2.0 * f)); }
"""

# One fragment program per material. tint and knob are the person's colours and amounts.
MATERIALS = {
    # extra = (openness, lips, inside of the mouth, unused); tint0 lips; knob.x lip shine
    "skin": """
void main() {
    vec2 at = vec2(atan(R.x, R.z - 0.25) / 6.28318531 + 0.5, (R.y - 5.4) / 3.2), d = 1.0 / vec2(2048, 1024);
    vec4 t = textureLod(paint, at, 0.0);
    float du = textureLod(paint, at + vec2(d.x, 0), 0.0).a - textureLod(paint, at - vec2(d.x, 0), 0.0).a;
    float dv = textureLod(paint, at + vec2(0, d.y), 0.0).a - textureLod(paint, at - vec2(0, d.y), 0.0).a;
    vec3 n = normalize(N), across = normalize(cross(vec3(0, 1, 0.01), n));
    float lips = smoothstep(0.12, 0.85, X.y), inside = smoothstep(0.25, 0.8, X.z);
    n = normalize(n - 0.75 * (du * across + dv * cross(n, across)) * (1.0 - inside));
    vec3 albedo = linear(t.rgb);
    albedo = mix(albedo, linear(tint0) * (0.75 + 0.5 * t.a), lips * 0.85);
    albedo = mix(albedo, vec3(0.22, 0.055, 0.05), inside);
    float oily = 0.5 + 0.5 * exp(-pow(R.x / 0.28, 2.0)) * step(0.9, R.z);
    float rough = mix(mix(0.52, 0.42, oily), 0.34, lips), f0 = mix(0.030 + 0.014 * oily, 0.03 + 0.03 * knob.x, lips);
    f0 *= smoothstep(0.004, 0.05, albedo.g * (1.0 + knob.y));  // no sheen on the painted roots of the hair
    float deep = mix(1.0, smoothstep(0.95, 1.50, R.z), inside);
    float ao = mix(X.x, max(X.x, 0.4) * mix(0.35, 1.0, deep), inside);  // the throat is never quite black
    vec3 c = shade(albedo, n, ao, rough, f0 * deep, vec3(0.42, 0.20, 0.13));
    finish(c * mix(1.0, 0.30 + 0.70 * deep, inside), 1.0);
}""",
    # rest = direction from the eyeball's middle, turning with the gaze; extra.xyz = the same in the head;
    # tint = iris inside, outside
    "eye": """
void main() {
    vec3 w = normalize(R), h = normalize(X.xyz), n = normalize(N), v = normalize(eye - P);
    float angle = acos(clamp(w.z, -1.0, 1.0)), r = angle / 0.425, turn = atan(w.y, w.x);
    float fibre = soft(turn * 14.0 + 50.0) * 0.5 + soft(turn * 37.0 + 90.0) * 0.35 + soft(r * 9.0 + 3.0) * 0.15;
    vec3 iris = mix(linear(tint0), linear(tint1), smoothstep(0.35, 0.85, r)) * (0.55 + 0.9 * fibre);
    iris *= 1.0 + 0.7 * max(dot(normalize(w.xy + 1e-4), -key.xy), 0.0);  // light gathers on the far side
    iris *= 1.0 - 0.8 * smoothstep(0.80, 1.0, r);
    iris = mix(vec3(0.0015), iris, smoothstep(0.40, 0.46, r));
    float vein = smoothstep(0.72, 1.0, soft(turn * 19.0 + 7.0 * soft(angle * 9.0))) * smoothstep(0.6, 1.1, angle);
    float red = 0.35 * vein + 0.35 * smoothstep(0.55, 0.95, abs(h.x));
    vec3 white = mix(vec3(0.50, 0.46, 0.42), vec3(0.50, 0.28, 0.24), red);
    vec3 albedo = mix(iris, white, smoothstep(0.93, 1.06, r));
    float lids = 1.0 - 0.62 * smoothstep(0.06, 0.42, h.y);  // the shadow of the lids and corners
    lids *= (1.0 - 0.30 * smoothstep(0.22, 0.5, -h.y)) * (1.0 - 0.45 * smoothstep(0.5, 0.9, abs(h.x)));
    vec3 c = shade(albedo, normalize(mix(n, v, 0.25)), lids, 0.10, 0.02, vec3(0.25)) * mix(0.55, 1.0, lids);
    vec3 m = reflect(-v, n);  // the catch light: a soft window where the key light is
    vec3 u = normalize(cross(vec3(0, 1, 0), key)); vec2 q = vec2(dot(m, u), dot(m, cross(key, u))) / 0.21;
    float window = step(0.0, dot(m, key)) * smoothstep(1.25, 0.8, max(abs(q.x), abs(q.y)));
    window *= mix(0.25, 1.0, smoothstep(1.3, 1.0, r)) * smoothstep(0.35, 0.7, lids);
    finish(c + 1.3 * window * key_colour, 1.0);
}""",
    # extra = (openness, gum, unused, unused)
    "teeth": """
void main() {
    vec3 albedo = mix(vec3(0.74, 0.66, 0.54), vec3(0.42, 0.13, 0.12), X.y);
    float deep = smoothstep(1.02, 1.46, R.z);
    finish(shade(albedo, normalize(N), X.x, 0.25, 0.05, vec3(0.3, 0.22, 0.18)) * (0.08 + 0.92 * deep) * X.x, 1.0);
}""",
    # extra = (openness, unused...)
    "tongue": """
void main() {
    float groove = 1.0 - 0.35 * exp(-pow(R.x / 0.03, 2.0)), deep = smoothstep(0.9, 1.40, R.z);
    vec3 c = shade(vec3(0.40, 0.12, 0.11) * groove, normalize(N), X.x, 0.4, 0.05, vec3(0.4, 0.2, 0.15));
    finish(c * (0.06 + 0.94 * deep) * X.x, 1.0);
}""",
    # extra.x = openness; tint0 cloth; knob = (collar height, how much it rises to the nape, knit, unused)
    "cloth": """
void main() {
    float below = knob.x - (R.y + knob.y * R.z); if (below < 0.0) discard;
    float knit = sin(R.x * 150.0) * sin(R.y * 110.0) * knob.z, seam = exp(-pow((below - 0.11) / 0.012, 2.0));
    vec3 albedo = linear(tint0) * (1.0 + 0.12 * knit) * (1.0 - 0.45 * seam) * (below < 0.11 ? 0.9 : 1.0);
    finish(shade(albedo, normalize(N), X.x, 0.8, 0.02, vec3(0.2)), 1.0);
}""",
    # rest = direction of the skin under the hair; tint = root, tip; extra.w = 1: short hair on the face
    "hair": """
void main() {
    vec3 t = normalize(N), v = normalize(eye - P), out_ = normalize(R);
    vec3 albedo = mix(linear(tint0), linear(tint1), X.x * (0.5 + 0.5 * X.z)) * (0.65 + 0.7 * X.z);
    float deep = mix(mix(0.38, 1.0, smoothstep(0.0, 0.7, X.x)), 0.85, X.w), arrives = lit();
    float tl = dot(t, key), tv = dot(t, v), sl = sqrt(max(1.0 - tl * tl, 0.0)), sv = sqrt(max(1.0 - tv * tv, 0.0));
    float face = clamp((dot(out_, key) + 0.35) / 1.35, 0.0, 1.0);
    vec3 room = around(out_) * 1.1 + FILL_COLOUR * max(dot(out_, normalize(FILL)) + 0.3, 0.0);
    vec3 c = albedo * deep * (1.25 * key_colour * arrives * sl * face + room);
    float shift = (X.z - 0.5) * 0.25, spark = pow(max(sl * sv - (tl + shift) * (tv + shift), 0.0), 45.0);
    c += deep * face * arrives * key_colour * spark * (0.05 + 0.35 * linear(tint1)) * knob.x;
    float rim = pow(1.0 - abs(dot(out_, v)), 2.0) * max(dot(out_, normalize(RIM)), 0.0);
    c += room_light * deep * 0.25 * rim * (albedo + 0.02);
    finish(c, X.w > 0.5 ? 0.8 * (1.0 - X.x * X.x) : 1.0);
}""",
    # rest = (place along the lid, 0 root..1 tip, length); tint0 lash
    "lash": """
void main() {
    float id = floor(R.x), across = abs(fract(R.x) - 0.5 + 0.25 * (hash(id) - 0.5));
    float tip = R.y / (R.z * (0.65 + 0.35 * hash(id + 7.0)));
    float a = smoothstep(0.0, 0.12, 0.36 * (1.0 - tip) - across + 0.06) * step(tip, 1.0);
    a = max(a, 0.85 * smoothstep(0.22, 0.0, R.y)); if (a < 0.05) discard;
    finish(linear(tint0) * 0.5, a);
}""",
    # rest = place on the unmoved arm; extra = (openness, nail, unused...); tint = skin, nail and palm
    "hand": """
void main() {
    vec3 q = R * 9.0; float mottle = 0.0, fine = 0.0;
    for (int i = 0; i < 3; i++) { mottle += sin(q.x + 1.7 * sin(q.y)) * sin(q.z + 1.3 * sin(q.x)); q = q.zxy * 2.1; }
    fine = soft(R.y * 60.0 + 9.0 * soft(R.x * 45.0) + 7.0 * soft(R.z * 50.0 + 40.0)) - 0.5;
    vec3 n = normalize(N), albedo = mix(linear(tint0), linear(tint1), clamp(X.z, 0.0, 1.0));
    albedo *= 1.0 + 0.03 * mottle * vec3(0.7, 1.05, 1.1) + 0.06 * fine;
    n = normalize(n + 0.06 * fine * vec3(0.3, 1.0, 0.3));
    float nail = smoothstep(0.45, 0.7, X.y);
    albedo = mix(albedo, linear(tint1) * 1.05, 0.6 * nail);
    finish(shade(albedo, n, X.x, mix(0.5, 0.25, nail), mix(0.03, 0.05, nail), vec3(0.42, 0.20, 0.13)), 1.0);
}""",
    # tint0 plastic or metal; knob.x shine
    "frame": """
void main() {
    vec3 n = normalize(N); finish(shade(linear(tint0), n, 1.0, 0.28, 0.04 + 0.4 * knob.x, vec3(0.05)), 1.0);
}""",
    # drawn over everything else: the room's window and the sky in the glass
    "lens": """
void main() {
    vec3 n = normalize(N), v = normalize(eye - P); if (dot(n, v) < 0.0) n = -n;
    vec3 m = reflect(-v, n), u = normalize(cross(vec3(0, 1, 0), key));
    vec2 q = vec2(dot(m, u), dot(m, cross(key, u))) / vec2(0.30, 0.38);
    float window = step(0.0, dot(m, key)) * smoothstep(1.2, 0.9, max(abs(q.x), abs(q.y)));
    window *= 1.0 - 0.7 * smoothstep(0.06, 0.03, min(abs(q.x), abs(q.y)));
    float mirror = 0.03 + 0.5 * pow(1.0 - max(dot(n, v), 0.0), 5.0);
    float a = clamp(mirror + 0.28 * window, 0.0, 0.8);
    finish(around(m) * 0.8 + window * key_colour, a);
}""",
    "back": """
void main() { colour = vec4(texture(paint, X.xy).rgb * room_light, 1.0); }""",
}

# Flat colours for the masks: red face, green occluder, blue glasses. Where the last value is 1, only what has
# extra.w = 1 counts: of the skin the face, of the hair what grows on the face.
LABEL = """
uniform vec4 label;
void main() { colour = vec4(label.rgb * mix(1.0, step(0.75, X.w), label.a), 1.0); }
"""
LABELS = {
    "skin": (1.0, 0.0, 0.0, 1.0),
    "hair": (1.0, 0.0, 0.0, 1.0),
    "eye": (1.0, 0.0, 0.0, 0.0),
    "teeth": (1.0, 0.0, 0.0, 0.0),
    "tongue": (1.0, 0.0, 0.0, 0.0),
    "cloth": (0.0, 0.0, 0.0, 0.0),
    "hand": (0.0, 1.0, 0.0, 0.0),
    "frame": (0.0, 0.0, 1.0, 0.0),
    "lens": (0.0, 0.0, 1.0, 0.0),
}
MATERIALS["locks"] = MATERIALS["hair"]  # long hair: the same, but worked out for vertices (see lit_by_vertex)
LABELS["locks"] = LABELS["hair"]
HAIRY = ("hair", "locks")


def lit_by_vertex(vertex: str, fragment: str) -> tuple[str, str]:
    """Move a fragment program's work to the vertices: hairs cover each other many times over, so these are fewer."""
    inputs = "in vec3 P; in vec3 N; in vec3 R; in vec4 X; in vec4 S;"
    work = fragment.replace("#version 330", "").replace(inputs, "").replace("out vec4 colour", "out vec4 shown")
    work = work.replace("colour = vec4(", "shown = vec4(").replace("void main()", "void light()")
    work = work.replace("uniform vec3 eye; ", "")
    start = vertex.index("out vec3 P;")
    body = vertex[start:].replace("out ", "").replace("void main() {", work + "\nvoid main() {")
    body = body[: body.rindex("}")] + "    light();\n}\n"
    return vertex[:start] + body, "#version 330\nin vec4 shown; out vec4 colour; void main() { colour = shown; }"
